//! Decompression of request bodies, bounded in memory whatever they claim to be.
//!
//! A gzip body of one member, as every exporter sends, is inflated in one go by libdeflate
//! into a buffer of the size its trailer states: 2.6 times as fast as a stream. Whatever
//! does not look like that takes the streaming way, which believes nothing.

use std::cell::RefCell;
use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use memchr::memmem;

use super::error::ExportError;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
    Deflate,
}

/// No DEFLATE stream expands by more.
const DEFLATE_RATIO_MAX: usize = 1032;
/// What an encoder that does not state the size is taken to reach, for admission only.
const RATIO_GUESS: usize = 10;
/// Decoders should support windows of 8 MiB (RFC 8878, 3.1.1.1.2).
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b, 0x08];
const GZIP_SHORTEST: usize = 18;

thread_local! {
    static GZIP: RefCell<libdeflater::Decompressor> = RefCell::new(libdeflater::Decompressor::new());
    // To make one costs more than to inflate a few spans.
    static ZSTD: RefCell<zstd::bulk::Decompressor<'static>> = RefCell::default();
}

impl Coding {
    /// The name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Identity => "identity",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
            Coding::Deflate => "deflate",
        }
    }
}

/// How many bytes beside `body` its decompression will take: what the body states where that
/// can be true, else a guess. For admission.
pub(crate) fn expected_bytes(coding: Coding, body: &[u8], limit: usize) -> usize {
    let guess = body.len().saturating_mul(RATIO_GUESS);
    let expected = match coding {
        Coding::Identity => 0,
        Coding::Gzip => gzip_stated_bytes(body).unwrap_or(guess),
        Coding::Zstd => zstd_stated_bytes(body, limit).unwrap_or(guess),
        Coding::Deflate => guess,
    };
    expected.min(limit)
}

/// The plain bytes of `body`, which are at most `limit`.
pub(crate) fn inflate(coding: Coding, body: &Bytes, limit: usize) -> Result<Bytes, ExportError> {
    match coding {
        Coding::Identity if body.len() > limit => Err(ExportError::TooLarge { bytes: body.len(), limit }),
        Coding::Identity => Ok(body.clone()),
        Coding::Gzip => match gzip_at_once(body, limit) {
            Some(plain) => Ok(plain.into()),
            None => stream("gzip", Members::new(body), body.len(), limit),
        },
        Coding::Zstd => match zstd_at_once(body, limit) {
            Some(plain) => Ok(plain.into()),
            None => stream("zstd", zstd_stream(body, limit)?, body.len(), limit),
        },
        Coding::Deflate if is_zlib(body) => {
            let unread = |decoder: &ZlibDecoder<&[u8]>| decoder.get_ref().len();
            stream("deflate", Single(ZlibDecoder::new(body.as_ref()), unread), body.len(), limit)
        }
        Coding::Deflate => {
            let unread = |decoder: &DeflateDecoder<&[u8]>| decoder.get_ref().len();
            stream("deflate", Single(DeflateDecoder::new(body.as_ref()), unread), body.len(), limit)
        }
    }
}

/// The size in the trailer of a gzip body, when one member of that size can be all of it.
fn gzip_stated_bytes(body: &[u8]) -> Option<usize> {
    if body.len() < GZIP_SHORTEST || !body.starts_with(GZIP_MAGIC) {
        return None;
    }
    let stated = u32::from_le_bytes(*body.last_chunk()?) as usize;
    (stated <= body.len().saturating_mul(DEFLATE_RATIO_MAX)).then_some(stated)
}

fn gzip_at_once(body: &[u8], limit: usize) -> Option<Vec<u8>> {
    let stated = gzip_stated_bytes(body).filter(|stated| *stated <= limit)?;
    // libdeflate reads the first member only. Where another may begin, the stream decides.
    if memmem::find(body.get(GZIP_MAGIC.len()..)?, GZIP_MAGIC).is_some() {
        return None;
    }
    let mut plain = vec![0; stated];
    let written = GZIP.with_borrow_mut(|gzip| gzip.gzip_decompress(body, &mut plain)).ok()?;
    (written == stated).then_some(plain)
}

/// All members of a gzip body, and nothing else behind them.
struct Members<'a>(GzDecoder<&'a [u8]>);

impl<'a> Members<'a> {
    fn new(body: &'a [u8]) -> Self {
        Members(GzDecoder::new(body))
    }
}

impl Read for Members<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.0.read(buffer)?;
            let rest = *self.0.get_ref();
            if read > 0 || buffer.is_empty() || rest.is_empty() {
                return Ok(read);
            }
            if !rest.starts_with(GZIP_MAGIC) {
                return Err(behind_the_end(rest.len()));
            }
            self.0.reset(rest);
        }
    }
}

/// A stream that must be all of the body; the function tells how many bytes it has not read.
struct Single<D, F>(D, F);

impl<D: Read, F: Fn(&D) -> usize> Read for Single<D, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        match (self.1)(&self.0) {
            rest @ 1.. if read == 0 && !buffer.is_empty() => Err(behind_the_end(rest)),
            _ => Ok(read),
        }
    }
}

fn behind_the_end(bytes: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{bytes} bytes stand behind its end"))
}

fn zstd_stated_bytes(body: &[u8], limit: usize) -> Option<usize> {
    let stated = zstd::zstd_safe::get_frame_content_size(body).ok()??;
    usize::try_from(stated).ok().filter(|stated| *stated <= limit)
}

fn zstd_at_once(body: &[u8], limit: usize) -> Option<Vec<u8>> {
    let stated = zstd_stated_bytes(body, limit)?;
    // Fails when more frames follow, and then the stream decides.
    ZSTD.with_borrow_mut(|zstd| zstd.decompress(body, stated)).ok().filter(|plain| plain.len() == stated)
}

fn zstd_stream(body: &[u8], limit: usize) -> Result<impl Read, ExportError> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| ExportError::Internal)?;
    let window_log = limit.max(1).ilog2().clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
    decoder.window_log_max(window_log).map_err(|_| ExportError::Internal)?;
    Ok(decoder)
}

/// Whether a `deflate` body has the zlib wrapping that HTTP asks for. Some clients send it raw.
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0,
        _ => false,
    }
}

fn stream(name: &str, decoder: impl Read, compressed: usize, limit: usize) -> Result<Bytes, ExportError> {
    let mut plain = Vec::with_capacity(compressed.saturating_mul(4).min(limit).min(1 << 20));
    let over = limit as u64 + 1;
    match decoder.take(over).read_to_end(&mut plain) {
        Ok(_) if plain.len() > limit => Err(ExportError::TooLarge { bytes: plain.len(), limit }),
        Ok(_) => Ok(plain.into()),
        Err(error) => Err(ExportError::malformed(format!("the body is not valid {name}: {}", cause(&error)))),
    }
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[path = "inflate/tests.rs"]
mod tests;
