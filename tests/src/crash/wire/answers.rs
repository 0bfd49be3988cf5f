//! What a PostgreSQL server answers, read as it passes, to see when a transaction is done: one that was ended by COMMIT, or a
//! statement that was a transaction of its own. The connection must not be encrypted.

/// How the server says that a statement changed something, or that a transaction was committed.
const CHANGES: [&[u8]; 4] = [b"COMMIT", b"INSERT", b"UPDATE", b"DELETE"];

/// A message is a letter, four bytes that say how long the rest is, and the rest; the four are counted.
const HEAD: usize = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What came of a message that is not whole yet.
    rest: Vec<u8>,
    /// Whether something was changed since the server was last ready.
    changed: bool,
}

impl Answers {
    /// How many transactions are done, by these bytes.
    pub(super) fn commits(&mut self, bytes: &[u8]) -> usize {
        self.rest.extend_from_slice(bytes);
        let (mut done, mut read) = (0, 0);
        while let Some((kind, body)) = self.rest.get(read..).and_then(message) {
            match kind {
                b'C' => self.changed |= CHANGES.iter().any(|word| body.starts_with(word)),
                // Ready for the next question: idle, or within a transaction.
                b'Z' => {
                    done += usize::from(self.changed && body == b"I");
                    self.changed = false;
                }
                _ => {}
            }
            read += HEAD + body.len();
        }
        self.rest.drain(..read);
        done
    }
}

/// The first message, if it is whole.
fn message(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let length = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    let length = usize::try_from(length).ok()?;
    Some((*kind, rest.get(4..length)?))
}

#[cfg(test)]
mod tests {
    use super::Answers;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn answer(tag: &[u8], state: &[u8]) -> Vec<u8> {
        [message(b'2', b""), message(b'C', tag), message(b'Z', state)].concat()
    }

    #[test]
    fn statement_of_its_own_is_a_commit_and_one_within_a_transaction_is_none() {
        let mut answers = Answers::default();
        assert_eq!(answers.commits(&answer(b"INSERT 0 1\0", b"I")), 1);
        assert_eq!(answers.commits(&answer(b"BEGIN\0", b"T")), 0);
        assert_eq!(answers.commits(&answer(b"INSERT 0 1\0", b"T")), 0);
        assert_eq!(answers.commits(&answer(b"COMMIT\0", b"I")), 1);
        assert_eq!(answers.commits(&answer(b"SELECT 1\0", b"I")), 0);
        assert_eq!(answers.commits(&answer(b"ROLLBACK\0", b"I")), 0);
    }

    #[test]
    fn answer_in_pieces_is_one_answer() {
        let mut answers = Answers::default();
        let bytes = answer(b"DELETE 1\0", b"I");
        let done: Vec<usize> = bytes.chunks(3).map(|piece| answers.commits(piece)).collect();
        assert_eq!(done.iter().sum::<usize>(), 1);
        assert_eq!(done.last(), Some(&1));
    }
}
