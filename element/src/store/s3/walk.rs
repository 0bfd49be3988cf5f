//! Reading a whole bucket, in the order of its keys.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::Inner;
use crate::attr;
use crate::store::MAX_ATTRIBUTES;
use crate::store::{Found, reason_of};

/// Attr files read at once.
const READS: usize = 32;

/// Lists the bucket, from behind `after`, and sends what it finds, until the receiver goes away.
pub(super) async fn walk(inner: Arc<Inner>, after: Option<String>, sender: mpsc::Sender<Found>) -> io::Result<()> {
    let mut paths = inner.paths("", after.as_deref());
    let mut pairs = Pairs::default();
    let mut batch = Vec::with_capacity(READS);
    loop {
        let next = paths.try_next().await?;
        let ended = next.is_none();
        match next {
            Some(path) => pairs.take(path, &mut batch),
            None => pairs.end(&mut batch),
        }
        if batch.len() >= READS || ended {
            let found = stream::iter(batch.drain(..)).map(|item| {
                let inner = Arc::clone(&inner);
                async move { look(&inner, item).await }
            });
            let found: Vec<Found> = found.buffered(READS).try_collect().await?;
            for found in found {
                if sender.send(found).await.is_err() {
                    return Ok(());
                }
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// What a listing shows of a file.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    /// Content and attributes.
    Whole(String),
    /// Attributes alone.
    Attributes(String),
    /// Content alone.
    Content(String),
}

/// Matches content with attributes in an ordered listing; only names whose other half may still come are kept.
#[derive(Default)]
struct Pairs {
    open: BTreeSet<String>,
}

impl Pairs {
    fn take(&mut self, path: String, items: &mut Vec<Item>) {
        let passed: Vec<String> = self
            .open
            .iter()
            .filter(|content| format!("{content}{}", attr::SUFFIX) < path)
            .cloned()
            .collect();
        for content in passed {
            self.open.remove(&content);
            items.push(Item::Content(content));
        }
        match path.strip_suffix(attr::SUFFIX) {
            Some(content) if self.open.remove(content) => items.push(Item::Whole(content.to_owned())),
            Some(content) => items.push(Item::Attributes(content.to_owned())),
            None => drop(self.open.insert(path)),
        }
    }

    fn end(&mut self, items: &mut Vec<Item>) {
        items.extend(std::mem::take(&mut self.open).into_iter().map(Item::Content));
    }
}

async fn look(inner: &Inner, item: Item) -> io::Result<Found> {
    let broken = |path: &str, reason: String| Found::Broken {
        path: format!("{path}{}", attr::SUFFIX),
        reason,
    };
    Ok(match item {
        Item::Content(path) => Found::Orphan { path },
        Item::Attributes(path) => broken(&path, "its content is missing".to_owned()),
        Item::Whole(path) => match inner
            .bucket
            .read_small(&inner.attributes_key(&path)?, MAX_ATTRIBUTES)
            .await?
        {
            // Deleted since it was listed; the log tells a rebuild of it.
            None => broken(&path, "it went away meanwhile".to_owned()),
            Some(bytes) => match attr::decode(&bytes, &path) {
                Ok(metadata) => Found::File(Box::new(metadata)),
                Err(error) => broken(&path, reason_of(&error)),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{Item, Pairs};

    fn items(paths: &[&str]) -> Vec<Item> {
        let (mut pairs, mut items) = (Pairs::default(), Vec::new());
        for path in paths {
            pairs.take((*path).to_owned(), &mut items);
        }
        pairs.end(&mut items);
        items
    }

    #[test]
    fn halves_are_matched_and_what_is_alone_is_said_to_be() {
        let listing = [
            "a/1",
            "a/1-x",
            "a/1.attr.json",
            "a/2.attr.json",
            "b/3",
            "b/4",
            "b/4.attr.json",
        ];
        assert_eq!(
            items(&listing),
            [
                Item::Content("a/1-x".into()),
                Item::Whole("a/1".into()),
                Item::Attributes("a/2".into()),
                Item::Content("b/3".into()),
                Item::Whole("b/4".into()),
            ]
        );
    }

    #[test]
    fn names_kept_are_only_those_whose_other_half_may_come() {
        let (mut pairs, mut items) = (Pairs::default(), Vec::new());
        for number in 0..1000 {
            pairs.take(format!("a/{number:04}"), &mut items);
        }
        assert_eq!((pairs.open.len(), items.len()), (1, 999));
    }
}
