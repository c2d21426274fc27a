//! Formats and encodings of requests.

use std::io;

use clap::ValueEnum;
use libdeflater::CompressionLvl;

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// OTLP/protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

/// How a request is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// gzip, level 1.
    Gzip,
    /// Zstandard, level 1.
    Zstd,
}

impl Compression {
    /// The name in headers; none when not compressed.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        }
    }
}

/// What a fast client uses. libdeflate's level 0, which it calls the fastest, does not compress.
const GZIP_LEVEL: i32 = 1;

/// Compresses one request after the other.
pub(crate) enum Compressor {
    /// Copies.
    None,
    /// gzip.
    Gzip(libdeflater::Compressor),
    /// Zstandard.
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Compressor {
    /// A compressor for `compression`.
    pub(crate) fn new(compression: Compression) -> io::Result<Compressor> {
        Ok(match compression {
            Compression::None => Compressor::None,
            Compression::Gzip => {
                let level = CompressionLvl::new(GZIP_LEVEL).map_err(|e| io::Error::other(format!("{e:?}")))?;
                Compressor::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Zstd => Compressor::Zstd(Box::new(zstd::bulk::Compressor::new(1)?)),
        })
    }

    /// Appends `body`, compressed, to `out`.
    pub(crate) fn append(&mut self, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        match self {
            Compressor::None => out.extend_from_slice(body),
            Compressor::Gzip(gzip) => {
                out.resize(start + gzip.gzip_compress_bound(body.len()), 0);
                let room = out.get_mut(start..).unwrap_or_default();
                let written = gzip.gzip_compress(body, room).map_err(|e| io::Error::other(e.to_string()))?;
                out.truncate(start + written);
            }
            Compressor::Zstd(zstd) => out.extend_from_slice(&zstd.compress(body)?),
        }
        Ok(())
    }
}
