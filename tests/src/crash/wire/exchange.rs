//! What is said on a connection to PostgreSQL, read as it passes, to see when a transaction is done: one that was ended by COMMIT, or
//! a statement that was a transaction of its own. The connection must not be encrypted.

use std::collections::HashSet;

/// Words of statements that change something, wherever in them they stand.
const CHANGES: [&[u8]; 3] = [b"INSERT INTO", b"UPDATE ", b"DELETE FROM"];

/// How the server says that it has committed.
const COMMIT: &[u8] = b"COMMIT";

/// A message is a letter, four bytes that say how long the rest is, and the rest; the four are counted.
const HEAD: usize = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// What came of messages that are not whole yet.
    asked: Vec<u8>,
    answered: Vec<u8>,
    /// Whether the client's first message came, which has no letter.
    greeted: bool,
    /// Prepared statements that change something, by their names.
    changing: HashSet<Vec<u8>>,
    /// Whether what was asked for changes something.
    changes: bool,
    /// Whether something was done since the server was last ready.
    done: bool,
}

impl Exchange {
    /// Takes what the client says.
    pub(super) fn ask(&mut self, bytes: &[u8]) {
        self.asked.extend_from_slice(bytes);
        if !self.greeted {
            let Some(length) = length(&self.asked).filter(|length| *length <= self.asked.len()) else {
                return;
            };
            self.asked.drain(..length);
            self.greeted = true;
        }
        let mut read = 0;
        while let Some((kind, body)) = self.asked.get(read..).and_then(message) {
            let mut texts = body.split(|byte| *byte == 0);
            let (first, second) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
            match kind {
                // To prepare: a name and a statement.
                b'P' => {
                    let changes = CHANGES.iter().any(|word| contains(second, word));
                    // What has no name is replaced.
                    if changes {
                        self.changing.insert(first.to_vec());
                    } else {
                        self.changing.remove(first);
                    }
                }
                // To bind: a name for that, and the name of what was prepared.
                b'B' => self.changes |= self.changing.contains(second),
                _ => {}
            }
            read += HEAD + body.len();
        }
        self.asked.drain(..read);
    }

    /// Takes what the server says. Answers how many transactions are done by that.
    pub(super) fn answer(&mut self, bytes: &[u8]) -> usize {
        self.answered.extend_from_slice(bytes);
        let (mut done, mut read) = (0, 0);
        while let Some((kind, body)) = self.answered.get(read..).and_then(message) {
            match kind {
                // A statement is complete.
                b'C' => self.done |= self.changes || body.starts_with(COMMIT),
                // Ready for the next question: idle, or within a transaction.
                b'Z' => {
                    done += usize::from(self.done && body == b"I");
                    (self.done, self.changes) = (false, false);
                }
                _ => {}
            }
            read += HEAD + body.len();
        }
        self.answered.drain(..read);
        done
    }
}

/// The first message, if it is whole.
fn message(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    Some((*kind, rest.get(4..length(rest)?)?))
}

fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(*bytes.first_chunk::<4>()?)).ok()
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::Exchange;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn exchange() -> Exchange {
        let mut exchange = Exchange::default();
        exchange.ask(b"\0\0\0\x08\0\x03\0\0");
        exchange.ask(&message(
            b'P',
            b"write\0WITH logged AS (INSERT INTO wal) SELECT 1\0\0\0",
        ));
        exchange.ask(&message(b'P', b"read\0SELECT 1\0\0\0"));
        exchange
    }

    fn question(statement: &str) -> Vec<u8> {
        [message(b'B', format!("\0{statement}\0").as_bytes()), message(b'S', b"")].concat()
    }

    fn answer(tag: &[u8], state: &[u8]) -> Vec<u8> {
        [message(b'2', b""), message(b'C', tag), message(b'Z', state)].concat()
    }

    #[test]
    fn statement_of_its_own_is_a_commit_and_one_within_a_transaction_is_none() {
        let mut exchange = exchange();
        exchange.ask(&question("write"));
        assert_eq!(exchange.answer(&answer(b"SELECT 1\0", b"I")), 1);
        exchange.ask(&message(b'Q', b"BEGIN\0"));
        assert_eq!(exchange.answer(&answer(b"BEGIN\0", b"T")), 0);
        exchange.ask(&question("write"));
        assert_eq!(exchange.answer(&answer(b"SELECT 1\0", b"T")), 0);
        exchange.ask(&message(b'Q', b"COMMIT\0"));
        assert_eq!(exchange.answer(&answer(b"COMMIT\0", b"I")), 1);
        exchange.ask(&question("read"));
        assert_eq!(exchange.answer(&answer(b"SELECT 1\0", b"I")), 0);
    }

    #[test]
    fn statement_that_failed_is_no_commit() {
        let mut exchange = exchange();
        exchange.ask(&question("write"));
        assert_eq!(exchange.answer(&[message(b'E', b""), message(b'Z', b"I")].concat()), 0);
        assert_eq!(exchange.answer(&answer(b"SELECT 1\0", b"I")), 0);
    }

    #[test]
    fn what_comes_in_pieces_is_read_as_a_whole() {
        let mut exchange = exchange();
        question("write").chunks(3).for_each(|piece| exchange.ask(piece));
        let bytes = answer(b"SELECT 1\0", b"I");
        let done: Vec<usize> = bytes.chunks(3).map(|piece| exchange.answer(piece)).collect();
        assert_eq!(done.iter().sum::<usize>(), 1);
        assert_eq!(done.last(), Some(&1));
    }
}
