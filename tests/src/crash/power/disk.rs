//! A disk as a power cut may leave it: what is durable for certain, and what was changed since and may be there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::journal::Change;
use crate::crash::chance::Chance;

/// The unit in which writes are torn.
const SECTOR: usize = 512;

/// Which file system is modelled; see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Names reach the disk in order, and every flush takes all of them along.
    Ordered,
    /// Names are durable by a flush of their folder alone.
    Weak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder,
}

/// A change of names that happens as a whole.
#[derive(Clone, Debug)]
struct Naming {
    at: usize,
    sets: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Debug, Default)]
struct Names {
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Naming>,
}

#[derive(Clone, Debug)]
enum Content {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<(usize, Content)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    /// What a running program sees.
    seen: BTreeMap<PathBuf, Node>,
    ordered: Names,
    weak: Names,
}

/// What is found after a cut.
#[derive(Debug, Default)]
pub struct Left {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Disk {
    /// The choice of a cut after which nothing is there but what was flushed.
    pub const NOTHING: u64 = 0;
    /// The choice of a cut after which everything is there.
    pub const EVERYTHING: u64 = 1;

    /// Takes the change at position `at` of a journal. Changes of files that have no name any more are of no interest.
    pub fn apply(&mut self, at: usize, change: &Change) {
        match change {
            Change::Open { path, create, truncate } => match self.seen.get(path) {
                Some(Node::File(inode)) if *truncate => self.write(*inode, at, Content::Length(0)),
                None if *create => {
                    self.inodes.push(Inode::default());
                    let node = Node::File(self.inodes.len() - 1);
                    self.name(at, vec![(path.clone(), Some(node))]);
                }
                _ => {}
            },
            Change::Write { path, offset, data } => {
                if let (Some(inode), Ok(offset)) = (self.file(path), usize::try_from(*offset)) {
                    let data = data.clone();
                    self.write(inode, at, Content::Write { offset, data });
                }
            }
            Change::Truncate { path, length } => {
                if let (Some(inode), Ok(length)) = (self.file(path), usize::try_from(*length)) {
                    self.write(inode, at, Content::Length(length));
                }
            }
            Change::Sync { path, covers } => self.sync(path, *covers),
            Change::Mkdir { path } => self.name(at, vec![(path.clone(), Some(Node::Folder))]),
            Change::Rename { from, to } => {
                if let Some(node) = self.seen.get(from).copied() {
                    self.name(at, vec![(from.clone(), None), (to.clone(), Some(node))]);
                }
            }
            Change::Link { from, to } => {
                if let Some(node) = self.seen.get(from).copied() {
                    self.name(at, vec![(to.clone(), Some(node))]);
                }
            }
            Change::Unlink { path } => self.name(at, vec![(path.clone(), None)]),
            Change::Mark(_) | Change::Nothing => {}
        }
    }

    fn file(&self, path: &Path) -> Option<usize> {
        match self.seen.get(path) {
            Some(Node::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    fn write(&mut self, inode: usize, at: usize, content: Content) {
        if let Some(inode) = self.inodes.get_mut(inode) {
            inode.pending.push((at, content));
        }
    }

    fn name(&mut self, at: usize, sets: Vec<(PathBuf, Option<Node>)>) {
        for (path, node) in &sets {
            put(&mut self.seen, path, *node);
        }
        self.ordered.pending.push(Naming { at, sets: sets.clone() });
        // In two folders a weak file system may come to one half of a change and not to the other.
        let folders: BTreeSet<&Path> = sets.iter().map(|(path, _)| folder(path)).collect();
        for of in folders {
            let sets = sets.iter().filter(|(path, _)| folder(path) == of).cloned().collect();
            self.weak.pending.push(Naming { at, sets });
        }
    }

    fn sync(&mut self, path: &Path, covers: usize) {
        self.ordered.settle(|naming| naming.at < covers);
        match self.file(path) {
            Some(inode) => {
                if let Some(inode) = self.inodes.get_mut(inode) {
                    let (flushed, later) = inode.pending.drain(..).partition(|(at, _)| *at < covers);
                    inode.pending = later;
                    let flushed: Vec<(usize, Content)> = flushed;
                    flushed
                        .iter()
                        .for_each(|(_, content)| content.write(&mut inode.durable));
                }
            }
            None => {
                let is_here = |naming: &Naming| naming.sets.iter().all(|(name, _)| folder(name) == path);
                self.weak.settle(|naming| naming.at < covers && is_here(naming));
            }
        }
    }

    /// One of the states that a cut at this moment may leave; which one follows from `seed`.
    pub fn after_cut(&self, model: Model, seed: u64) -> Left {
        let mut chance = Chance::new(seed);
        let names = match (model, seed) {
            (Model::Ordered, Self::NOTHING) => self.ordered.with(|_| false),
            (Model::Weak, Self::NOTHING) => self.weak.with(|_| false),
            (Model::Ordered, Self::EVERYTHING) => self.ordered.with(|_| true),
            (Model::Weak, Self::EVERYTHING) => self.weak.with(|_| true),
            (Model::Ordered, _) => {
                let last = chance.pick(&self.ordered.pending).map(|naming| naming.at);
                self.ordered.with(|naming| Some(naming.at) < last)
            }
            (Model::Weak, _) => {
                let odds = 2 + chance.below(3);
                let kept = chance.once_in(2);
                self.weak.with(|_| chance.once_in(odds) == kept)
            }
        };
        let mut left = Left::default();
        for (path, node) in &names {
            let reached = path
                .ancestors()
                .skip(1)
                .all(|folder| is_top(folder) || names.get(folder) == Some(&Node::Folder));
            match node {
                Node::Folder if reached => drop(left.folders.insert(path.clone())),
                Node::File(inode) if reached => {
                    let content = self.inodes.get(*inode).map(|inode| inode.after_cut(&mut chance, seed));
                    left.files.insert(path.clone(), content.unwrap_or_default());
                }
                Node::Folder | Node::File(_) => {}
            }
        }
        left
    }
}

impl Names {
    fn settle(&mut self, is_flushed: impl Fn(&Naming) -> bool) {
        let (flushed, later): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(is_flushed);
        self.pending = later;
        for (path, node) in flushed.iter().flat_map(|naming| &naming.sets) {
            put(&mut self.durable, path, *node);
        }
    }

    /// The durable names and those pending ones that are chosen.
    fn with(&self, mut chosen: impl FnMut(&Naming) -> bool) -> BTreeMap<PathBuf, Node> {
        let mut names = self.durable.clone();
        for naming in &self.pending {
            if chosen(naming) {
                for (path, node) in &naming.sets {
                    put(&mut names, path, *node);
                }
            }
        }
        names
    }
}

impl Content {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(place) = bytes.get_mut(*offset..end) {
                    place.copy_from_slice(data);
                }
            }
        }
    }

    /// What of it is there when the cut came in the middle of it.
    fn torn(&self, chance: &mut Chance) -> Self {
        match self {
            Self::Length(length) => Self::Length(*length),
            Self::Write { offset, data } => {
                let sectors = chance.below(data.len().div_ceil(SECTOR));
                let data = data.iter().take(sectors * SECTOR).copied().collect();
                Self::Write { offset: *offset, data }
            }
        }
    }

    /// The length without the content, as when blocks were given out and never written.
    fn zero(&self) -> Self {
        match self {
            Self::Length(length) => Self::Length(*length),
            Self::Write { offset, data } => Self::Write {
                offset: *offset,
                data: vec![0; data.len()],
            },
        }
    }
}

impl Inode {
    fn after_cut(&self, chance: &mut Chance, seed: u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let way = match seed {
            Disk::NOTHING => 0,
            Disk::EVERYTHING => 1,
            _ => chance.below(5),
        };
        let whole = match way {
            0 => 0,
            2 => chance.below(self.pending.len()),
            _ => self.pending.len(),
        };
        for (_, content) in self.pending.iter().take(whole) {
            match way {
                3 if chance.once_in(2) => {}
                4 => content.zero().write(&mut bytes),
                _ => content.write(&mut bytes),
            }
        }
        if way == 2
            && let Some((_, content)) = self.pending.get(whole)
        {
            content.torn(chance).write(&mut bytes);
        }
        bytes
    }
}

impl Left {
    /// Tells states apart.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.folders, &self.files).hash(&mut hasher);
        hasher.finish()
    }

    /// Makes it real below `root`.
    pub fn write(&self, root: &Path) -> Result<()> {
        for folder in &self.folders {
            fs::create_dir_all(root.join(folder)).with_context(|| format!("failed to make {folder:?}"))?;
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).with_context(|| format!("failed to write {path:?}"))?;
        }
        Ok(())
    }
}

fn put(names: &mut BTreeMap<PathBuf, Node>, path: &Path, node: Option<Node>) {
    match node {
        Some(node) => drop(names.insert(path.to_path_buf(), node)),
        None => drop(names.remove(path)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Whether it is the folder that was there before the recording began.
fn is_top(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests;
