//! What the tests of this room share: rows, records, and a disk that fails on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::*;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hopline_model::{Signal, Table, schema};
use object_store::path::Path as ObjectPath;
use object_store::*;
use parking_lot::Mutex;

use crate::clock::ManualClock;
use crate::config::Config;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::files::{Files, LogFile, OsFiles};
use crate::log::Replay;
use crate::merge::FileReader;
use crate::record::{Encoding, Format, Position, Record};
use crate::snapshot::Snapshot;
use crate::storage::{Below, Mode, Storage};

/// 2026-11-21.
pub(crate) const NOW: i64 = 1_795_219_200_000_000_000;

/// A row is made of its id alone.
pub(crate) fn rows(table: Table, ids: &[u64]) -> RecordBatch {
    let schema = schema::of(table);
    let columns =
        schema.fields().iter().map(|f| column(table, f.name(), f.data_type(), f.is_nullable(), ids)).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn column(table: Table, name: &str, kind: &DataType, nullable: bool, ids: &[u64]) -> ArrayRef {
    let text = |of: &dyn Fn(u64) -> String| -> ArrayRef {
        let values: Vec<_> = ids.iter().map(|id| of(*id)).collect();
        Arc::new(values.iter().map(|v| Some(v.as_str())).collect::<DictionaryArray<Int32Type>>())
    };
    match (name, kind) {
        ("tenant", _) => text(&|id| format!("tenant-{}", id % 2)),
        ("service", _) => text(&|id| format!("service-{}", id % 7)),
        ("name", _) => text(&|id| format!("GET /{}", id % 13)),
        ("function", _) => text(&|id| format!("function-{}", id % 11)),
        ("resolution", _) => text(&|id| ["minute", "hour", "day"][id as usize % 3].into()),
        ("kind", _) => text(&|_| "server".into()),
        ("type", _) => text(&|_| "gauge".into()),
        ("attribute_layout", _) => text(&|id| if id % 3 == 0 { String::new() } else { "[\"s.color\"]".into() }),
        ("resource", _) => text(&|id| format!("{{\"attributes\":{{\"n\":{}}}}}", id % 5)),
        ("duration", DataType::Int64) => Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| *id as i64))),
        ("trace_id" | "key_hash", _) => fixed(ids, 16, trace_of),
        ("span_id" | "series_id", _) => fixed(ids, 8, |id| id.to_le_bytes().to_vec()),
        ("body" | "url_path", DataType::Utf8) => {
            Arc::new(StringArray::from_iter(ids.iter().map(|id| (id % 4 != 0).then(|| format!("/path/{id}")))))
        }
        ("attributes_string", _) => attributes(ids),
        (_, DataType::Timestamp(TimeUnit::Nanosecond, _)) if !nullable => {
            // Where rows are ordered by periods, several of them.
            let step = table.sort_period().map_or(1, |period| period.length_ns / 200_000);
            let times = ids.iter().map(|id| NOW + (id.wrapping_mul(0x9E37_79B9) % 1_000_000) as i64 * step);
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
        }
        (_, DataType::Int64) if !nullable => Arc::new(Int64Array::from(vec![7; ids.len()])),
        (_, DataType::Binary) => Arc::new(BinaryArray::from_iter_values(ids.iter().map(|id| id.to_le_bytes()))),
        (_, DataType::Dictionary(..)) if !nullable => text(&|_| String::new()),
        (_, DataType::UInt32) if !nullable => Arc::new(UInt32Array::from(vec![0; ids.len()])),
        (_, DataType::Int32) if !nullable => Arc::new(Int32Array::from(vec![9; ids.len()])),
        (_, DataType::Boolean) if !nullable => Arc::new(BooleanArray::from(vec![false; ids.len()])),
        _ => new_null_array(kind, ids.len()),
    }
}

fn fixed(ids: &[u64], width: i32, of: impl Fn(u64) -> Vec<u8>) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(width);
    ids.iter().for_each(|id| builder.append_value(of(*id)).unwrap());
    Arc::new(builder.finish())
}

/// Four rows share a trace.
pub(crate) fn trace_of(id: u64) -> Vec<u8> {
    u128::from(id / 4 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes().to_vec()
}

fn attributes(ids: &[u64]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for id in ids {
        if id % 3 != 0 {
            builder.keys().append_value("color");
            builder.values().append_value(format!("color {id}"));
        }
        builder.append(true).unwrap();
    }
    Arc::new(builder.finish())
}

/// The ids of rows made by [`rows`].
pub(crate) fn ids(batch: &RecordBatch) -> Vec<u64> {
    let column = batch.column_by_name("span_id").or(batch.column_by_name("series_id"));
    let Some(column) = column.map(|c| c.as_fixed_size_binary()) else {
        let column = batch.column_by_name("duration").unwrap().as_binary::<i32>();
        return column.iter().map(|id| u64::from_le_bytes(id.unwrap().try_into().unwrap())).collect();
    };
    (0..column.len()).map(|i| u64::from_le_bytes(column.value(i).try_into().unwrap())).collect()
}

/// A record whose body is ids.
pub(crate) fn record(ids: &[u64]) -> Record {
    let body: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    Record {
        tenant: "tenant".into(),
        signal: Signal::Traces,
        encoding: Encoding::Identity,
        format: Format::Protobuf,
        received_at: NOW,
        hash: u128::from(ids.first().copied().unwrap_or(0)),
        body: Bytes::from(body),
    }
}

pub(crate) fn record_ids(record: &Record) -> Vec<u64> {
    record.body.as_chunks::<8>().0.iter().map(|c| u64::from_le_bytes(*c)).collect()
}

/// All ids in a snapshot, sorted.
pub(crate) fn ids_in(storage: &Storage, snapshot: &Snapshot, table: Table) -> Vec<u64> {
    let mut found: Vec<u64> = snapshot.hot(table).iter().flat_map(|b| ids(b)).collect();
    for file in snapshot.files(table) {
        found.extend(ids_in_file(storage, file));
    }
    found.sort_unstable();
    found
}

pub(crate) fn ids_in_file(storage: &Storage, file: &Arc<DataFile>) -> Vec<u64> {
    let mut reader = FileReader::open(&storage.inner().objects, file).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        found.extend(ids(&batch));
    }
    assert_eq!(found.len() as u64, file.rows);
    found
}

/// A data folder with its disk and clock.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) faults: Arc<Faults>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, faults: Arc::default(), clock: Arc::new(ManualClock::new(NOW)), config }
    }

    pub(crate) fn try_open(&self, mode: Mode) -> Result<(Storage, Replay), Error> {
        let dir = self.dir.path().canonicalize().unwrap();
        let local = object_store::local::LocalFileSystem::new_with_prefix(&dir).unwrap();
        let store = Arc::new(FaultyStore { inner: local, faults: self.faults.clone() });
        let files = Arc::new(FaultyFiles { faults: self.faults.clone() });
        let below = Below { store, root: Some(dir.clone()), files };
        Storage::open_on(&dir, below, self.config.clone(), mode, self.clock.clone(), &prometheus::Registry::new())
    }

    /// Opens the folder and publishes what is replayed.
    pub(crate) fn open(&self) -> Storage {
        let (storage, replay) = self.try_open(Mode::ReadWrite).unwrap();
        for record in replay {
            let (position, record) = record.unwrap();
            storage.publish(vec![(Table::Spans, rows(Table::Spans, &record_ids(&record)))], position);
        }
        storage
    }
}

/// Does what a committer does with one request.
pub(crate) fn ingest(storage: &Storage, ids: &[u64]) -> Result<Position, Error> {
    let position = storage.append(&[record(ids)])?;
    storage.sync()?;
    storage.publish(vec![(Table::Spans, rows(Table::Spans, ids))], position);
    Ok(position)
}

/// What goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// No space on the log's disk: half of a write gets there.
    pub(crate) log_full: AtomicBool,
    pub(crate) log_sync_fails: AtomicBool,
    pub(crate) log_cut_fails: AtomicBool,
    /// No space for objects.
    pub(crate) store_full: AtomicBool,
    /// An object that may not be read.
    pub(crate) unreadable: Mutex<Option<ObjectPath>>,
    crash: Mutex<Crash>,
}

#[derive(Debug, Default)]
struct Crash {
    /// Changes until everything stops.
    countdown: Option<u64>,
    /// The last change is made, but nobody hears of it.
    lost_answer: bool,
    dead: bool,
}

#[derive(PartialEq)]
enum Fate {
    Done,
    Refused,
    LostAnswer,
}

impl Faults {
    /// After `changes` changes to the disk nothing works any more, as if the process were dead.
    pub(crate) fn crash_after(&self, changes: u64, lost_answer: bool) {
        *self.crash.lock() = Crash { countdown: Some(changes), lost_answer, dead: false };
    }

    /// Whether the crash came; everything works again.
    pub(crate) fn heal(&self) -> bool {
        std::mem::take(&mut *self.crash.lock()).dead
    }

    /// Answers of the store are lost from now on, until healed.
    fn change(&self) -> Fate {
        let mut crash = self.crash.lock();
        if crash.dead {
            return Fate::Refused;
        }
        match crash.countdown {
            Some(0) => {
                crash.dead = true;
                if crash.lost_answer { Fate::LostAnswer } else { Fate::Refused }
            }
            Some(n) => {
                crash.countdown = Some(n - 1);
                Fate::Done
            }
            None => Fate::Done,
        }
    }

    fn file_change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let dead = || io::Error::other("crashed");
        match self.change() {
            Fate::Done => change(),
            Fate::Refused => Err(dead()),
            Fate::LostAnswer => change().and(Err(dead())),
        }
    }
}

pub(crate) struct FaultyFiles {
    pub(crate) faults: Arc<Faults>,
}

struct FaultyFile {
    inner: Box<dyn LogFile>,
    faults: Arc<Faults>,
}

fn on(flag: &AtomicBool) -> bool {
    flag.load(Ordering::SeqCst)
}

impl Files for FaultyFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let inner = self.faults.file_change(|| OsFiles.create(path))?;
        Ok(Box::new(FaultyFile { inner, faults: self.faults.clone() }))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.faults.file_change(|| OsFiles.truncate(path, len))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.file_change(|| OsFiles.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFiles.sync_dir(dir)
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.faults.file_change(|| OsFiles.write_atomic(path, bytes))
    }
}

impl LogFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if on(&self.faults.log_full) {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.faults.file_change(|| self.inner.append(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        if on(&self.faults.log_sync_fails) {
            return Err(io::Error::other("sync"));
        }
        self.inner.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if on(&self.faults.log_cut_fails) {
            return Err(io::Error::other("cut"));
        }
        self.inner.truncate(len)
    }
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: object_store::local::LocalFileSystem,
    faults: Arc<Faults>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn refused() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "crashed".into() }
}

impl FaultyStore {
    fn space(&self) -> Result<()> {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        if on(&self.faults.store_full) {
            return Err(object_store::Error::Generic { store: "faulty", source: Box::new(full()) });
        }
        Ok(())
    }
}

use object_store::Result;

impl ObjectStore for FaultyStore {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        payload: PutPayload,
        opts: PutOptions,
    ) -> futures::future::BoxFuture<'c, Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            self.space()?;
            match self.faults.change() {
                Fate::Done => self.inner.put_opts(location, payload, opts).await,
                Fate::Refused => Err(refused()),
                Fate::LostAnswer => self.inner.put_opts(location, payload, opts).await.and(Err(refused())),
            }
        })
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        opts: PutMultipartOptions,
    ) -> futures::future::BoxFuture<'c, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            self.space()?;
            self.inner.put_multipart_opts(location, opts).await
        })
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        options: GetOptions,
    ) -> futures::future::BoxFuture<'c, Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
    {
        if self.faults.unreadable.lock().as_ref() == Some(location) {
            let source = Box::new(io::Error::from(io::ErrorKind::PermissionDenied));
            return Box::pin(async { Err(object_store::Error::Generic { store: "faulty", source }) });
        }
        Box::pin(self.inner.get_opts(location, options))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        match self.faults.change() {
            Fate::Done => self.inner.delete_stream(locations),
            Fate::Refused => futures::stream::once(async { Err(refused()) }).boxed(),
            Fate::LostAnswer => {
                let deleted = self.inner.delete_stream(locations);
                futures::stream::once(async move { deleted.try_collect::<Vec<_>>().await.and(Err(refused())) }).boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        prefix: Option<&'b ObjectPath>,
    ) -> futures::future::BoxFuture<'c, Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(self.inner.list_with_delimiter(prefix))
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b ObjectPath,
        to: &'d ObjectPath,
        options: CopyOptions,
    ) -> futures::future::BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
    {
        Box::pin(self.inner.copy_opts(from, to, options))
    }
}
