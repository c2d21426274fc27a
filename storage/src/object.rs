//! The object store, used from threads that may block, and made durable.
//!
//! A local folder's object store does not sync what it writes; here every object that
//! counts is synced, with its folders, before anybody builds on it.

use std::collections::HashSet;
use std::future::Future;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::error::Error;

/// Larger objects are uploaded in parts of this size. (S3 takes no part below 5 MiB.)
const PART_BYTES: usize = 8 << 20;
/// The same for local files, where each part is synced by itself: what a file system has to
/// write for one sync, the next sync of the log waits for.
const LOCAL_PART_BYTES: usize = 2 << 20;

/// The object store of a data folder.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Where the objects are files, if they are.
    root: Option<PathBuf>,
    runtime: Option<Runtime>,
    synced_dirs: Mutex<HashSet<PathBuf>>,
}

impl Drop for Objects {
    fn drop(&mut self) {
        // Waiting is not allowed everywhere, and nothing is waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, root: Option<PathBuf>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hopline-objects")
            .enable_all()
            .build()
            .map_err(Error::io("start threads for", "the object store"))?;
        Ok(Self { store, root, runtime: Some(runtime), synced_dirs: Mutex::default() })
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Waits for `work`, from any thread, also one that drives a runtime of its own.
    pub(crate) fn wait<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or(Error::Closed)?;
        runtime.spawn(async move {
            // The receiver waits below.
            let _ = answer.send(work.await);
        });
        answered.recv().map_err(|_| Error::Closed)
    }

    pub(crate) fn get(&self, path: &Path) -> Result<Bytes, Error> {
        let (store, at) = (self.store.clone(), path.clone());
        self.wait(async move { store.get(&at).await?.bytes().await })?.map_err(Error::store("read", path))
    }

    pub(crate) fn size(&self, path: &Path) -> Result<u64, Error> {
        let (store, at) = (self.store.clone(), path.clone());
        let meta = self.wait(async move { store.head(&at).await })?.map_err(Error::store("read", path))?;
        Ok(meta.size)
    }

    pub(crate) fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        let (store, at) = (self.store.clone(), path.clone());
        self.wait(async move { store.get_range(&at, range).await })?.map_err(Error::store("read", path))
    }

    /// Writes an object that must not be there yet, durably.
    pub(crate) fn create(&self, path: &Path, content: Bytes) -> Result<(), Error> {
        let (store, at) = (self.store.clone(), path.clone());
        let options = PutOptions::from(PutMode::Create);
        self.wait(async move { store.put_opts(&at, PutPayload::from_bytes(content), options).await })?
            .map_err(Error::store("write", path))?;
        self.sync(path).inspect_err(|_| {
            // A second sync might succeed without having written: the object has to be made anew.
            let _ = self.delete(path);
        })
    }

    /// Deletes an object, if it is there.
    pub(crate) fn delete(&self, path: &Path) -> Result<(), Error> {
        let (store, at) = (self.store.clone(), path.clone());
        match self.wait(async move { store.delete(&at).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::store("delete", path)(e)),
        }
    }

    /// All objects below `prefix`, in the order of their paths.
    pub(crate) fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, Error> {
        let (store, at) = (self.store.clone(), prefix.clone());
        let listed = self.wait(async move { store.list(Some(&at)).try_collect::<Vec<_>>().await })?;
        let mut objects = listed.map_err(Error::store("list", prefix))?;
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// Files below `prefixes` that the store was writing for `writer` when it was stopped. It
    /// lists them nowhere: their names end with `#` and a number.
    pub(crate) fn unfinished(&self, prefixes: &[&str], writer: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs: Vec<PathBuf> = self.root.iter().flat_map(|root| prefixes.iter().map(|p| root.join(p))).collect();
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                // A link is neither: nothing outside of the folder is looked at.
                let Ok(kind) = entry.file_type() else { continue };
                let number = name.to_str().filter(|n| n.starts_with(writer)).and_then(|n| n.rsplit_once('#'));
                let is_unfinished = number.is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
                if kind.is_dir() {
                    dirs.push(path);
                } else if kind.is_file() && is_unfinished {
                    found.push(path);
                }
            }
        }
        found
    }

    /// The local file that an object is, if it is one.
    fn file(&self, path: &Path) -> Option<PathBuf> {
        let root = self.root.clone()?;
        Some(path.parts().fold(root, |file, part| file.join(part.as_ref())))
    }

    /// Has what was written so far of a local file go to the disk now, not all at its end.
    /// An error counts: the kernel tells each loss once, and the sync at the end may not hear of it.
    fn pace(&self, path: &Path) -> Result<(), Error> {
        let Some(file) = self.file(path) else { return Ok(()) };
        let unfinished = unfinished_name(file);
        match std::fs::File::open(&unfinished) {
            Ok(open) => open.sync_data().map_err(Error::io("sync", &unfinished)),
            // Only the pacing is lost.
            Err(_) => Ok(()),
        }
    }

    /// Makes an object that is a local file durable.
    pub(crate) fn sync(&self, path: &Path) -> Result<(), Error> {
        let (Some(root), Some(file)) = (&self.root, self.file(path)) else { return Ok(()) };
        let sync = |path: &std::path::Path| std::fs::File::open(path)?.sync_all();
        sync(&file).map_err(Error::io("sync", &file))?;
        for dir in file.ancestors().skip(1) {
            sync(dir).map_err(Error::io("sync", dir))?;
            // The folder itself is durable already if it was synced before.
            if dir == root || !self.synced_dirs.lock().insert(dir.to_owned()) {
                break;
            }
        }
        Ok(())
    }
}

/// Where the store keeps a file until it is complete. No other has this object's name, so it takes its first choice.
fn unfinished_name(file: PathBuf) -> PathBuf {
    let mut name = file.into_os_string();
    name.push("#1");
    name.into()
}

/// Writes one object as its bytes come, in parts if it is large, and knows their checksum.
pub(crate) struct Upload {
    objects: Arc<Objects>,
    path: Path,
    buffer: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
    size: u64,
    crc32c: u32,
    /// The first failure as it was, which the writer on top of us wraps beyond recognition.
    failure: Arc<Mutex<Option<Error>>>,
}

impl Upload {
    pub(crate) fn new(objects: Arc<Objects>, path: Path) -> Self {
        Self { objects, path, buffer: Vec::new(), parts: None, size: 0, crc32c: 0, failure: Arc::default() }
    }

    /// Where the first failure is put.
    pub(crate) fn failure(&self) -> Arc<Mutex<Option<Error>>> {
        self.failure.clone()
    }

    fn put_part(&mut self) -> Result<(), Error> {
        let (store, at) = (self.objects.store.clone(), self.path.clone());
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self
                .objects
                .wait(async move { store.put_multipart(&at).await })?
                .map_err(Error::store("write", &self.path))?,
        };
        let (parts, done) = self.objects.wait(async move {
            let done = parts.put_part(PutPayload::from_bytes(bytes)).await;
            (parts, done)
        })?;
        self.parts = Some(parts);
        done.map_err(Error::store("write", &self.path))?;
        self.objects.pace(&self.path)
    }

    fn part_bytes(&self) -> usize {
        if self.objects.root.is_some() { LOCAL_PART_BYTES } else { PART_BYTES }
    }

    /// Ends the object durably; gives its size and checksum.
    pub(crate) fn finish(mut self) -> Result<(u64, u32), Error> {
        if self.parts.is_none() {
            let (store, at) = (self.objects.store.clone(), self.path.clone());
            let bytes = PutPayload::from_bytes(Bytes::from(std::mem::take(&mut self.buffer)));
            self.objects
                .wait(async move { store.put(&at, bytes).await })?
                .map_err(Error::store("write", &self.path))?;
        } else {
            self.put_part()?;
            if let Some(mut parts) = self.parts.take() {
                let done = self.objects.wait(async move { parts.complete().await })?;
                done.map_err(Error::store("write", &self.path))?;
            }
        }
        self.objects.sync(&self.path)?;
        Ok((self.size, self.crc32c))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // What remains of an upload that is given up; if this fails too, the sweep finds it.
            let _ = self.objects.wait(async move { parts.abort().await });
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= self.part_bytes() {
            self.put_part().map_err(|e| {
                let told = io::Error::other(e.to_string());
                self.failure.lock().get_or_insert(e);
                told
            })?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an error means that there is no space left.
pub(crate) fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(io) = e.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = e.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::local::LocalFileSystem;

    use super::*;

    #[test]
    fn a_large_local_file_is_synced_as_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
        let objects = Arc::new(Objects::new(store, Some(dir.path().to_owned())).unwrap());
        let mut upload = Upload::new(objects.clone(), Path::from("data/x.parquet"));
        upload.write_all(&vec![7; LOCAL_PART_BYTES + 1]).unwrap();
        let file = dir.path().join("data/x.parquet");
        assert!(unfinished_name(file.clone()).exists(), "the store's name for unfinished files has changed");
        assert!(!file.exists());
        upload.write_all(&[8; 10]).unwrap();
        assert_eq!(upload.finish().unwrap().0, LOCAL_PART_BYTES as u64 + 11);
        assert_eq!(std::fs::metadata(file).unwrap().len(), LOCAL_PART_BYTES as u64 + 11);
    }
}
