#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Write;

use super::*;

const LIMIT: usize = 1 << 20;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// As an encoder does that does not know the size in advance.
fn zstd_streamed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn check(coding: Coding, body: impl Into<Bytes>, expected: Result<&[u8], &str>) {
    let inflated = inflate(coding, &body.into(), LIMIT);
    match expected {
        Ok(plain) => assert_eq!(inflated.as_deref(), Ok(plain)),
        Err(reason) => assert_eq!(inflated.unwrap_err().reason(), reason),
    }
}

/// Bytes that compress a little.
fn sample(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8).collect()
}

#[test]
fn e19_each_coding_gives_back_what_was_compressed() {
    for len in [0, 1, 17, 1_000, 300_000] {
        let plain = sample(len);
        check(Coding::Identity, plain.clone(), Ok(&plain));
        check(Coding::Gzip, gzip(&plain), Ok(&plain));
        check(Coding::Zstd, zstd::bulk::compress(&plain, 3).unwrap(), Ok(&plain));
        check(Coding::Zstd, zstd_streamed(&plain), Ok(&plain));
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&plain).unwrap();
        let zlib = zlib.finish().unwrap();
        check(Coding::Deflate, [&zlib[..], b"x"].concat(), Err("malformed"));
        check(Coding::Deflate, zlib, Ok(&plain));
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        raw.write_all(&plain).unwrap();
        let raw = raw.finish().unwrap();
        check(Coding::Deflate, [&raw[..], b"x"].concat(), Err("malformed"));
        check(Coding::Deflate, raw, Ok(&plain));
    }
}

#[test]
fn e19_all_members_and_frames_of_a_body_count() {
    let (a, b) = (sample(1_000), sample(70_000));
    for (first, second) in [(&a, &b), (&b, &a), (&a, &a)] {
        let plain = [&first[..], &second[..]].concat();
        check(Coding::Gzip, [gzip(first), gzip(second)].concat(), Ok(&plain));
        let frames = [zstd::bulk::compress(first, 3).unwrap(), zstd_streamed(second)].concat();
        check(Coding::Zstd, frames, Ok(&plain));
    }
}

#[test]
fn e19_broken_bodies_are_refused() {
    let plain = sample(10_000);
    for (coding, body) in [(Coding::Gzip, gzip(&plain)), (Coding::Zstd, zstd::bulk::compress(&plain, 3).unwrap())] {
        for cut in [5, body.len() / 2, body.len() - 1] {
            check(coding, body[..cut].to_vec(), Err("malformed"));
        }
        check(coding, b"this is neither".to_vec(), Err("malformed"));
        check(coding, [&body[..], b"trailing bytes"].concat(), Err("malformed"));
        let mut flipped = body.clone();
        flipped[body.len() / 2] ^= 0x55;
        assert_ne!(inflate(coding, &flipped.into(), LIMIT).as_deref(), Ok(&plain[..]));
    }
    check(Coding::Deflate, vec![0x78, 0x9c, 0xff, 0xff], Err("malformed"));
}

#[test]
fn e19_what_is_wrong_with_gzip_is_said() {
    #[track_caller]
    fn check(body: Vec<u8>, why: &str) {
        let error = inflate(Coding::Gzip, &body.into(), LIMIT).unwrap_err();
        assert_eq!(error.to_string(), format!("the body is not valid gzip: {why}"));
    }
    let one = gzip(&sample(10_000));
    let two = [&one[..], &one[..]].concat();
    for body in [&one, &two] {
        check([&body[..], b"x"].concat(), "1 bytes stand behind its end");
        check([&body[..], b"trailing bytes"].concat(), "14 bytes stand behind its end");
        check(body[..body.len() - 1].to_vec(), "it ends too early");
        check([&body[..], GZIP_MAGIC].concat(), "it ends too early");
    }
    check(Vec::new(), "it ends too early");
}

#[test]
fn e19_r08_bombs_are_refused_and_bounded() {
    let zeros = vec![0; 8 << 20];
    check(Coding::Gzip, gzip(&zeros), Err("too_large"));
    check(Coding::Zstd, zstd::bulk::compress(&zeros, 3).unwrap(), Err("too_large"));
    check(Coding::Zstd, zstd_streamed(&zeros), Err("too_large"));
    // Two members, the last of them small: its size says nothing.
    check(Coding::Gzip, [gzip(&zeros), gzip(b"x")].concat(), Err("too_large"));
    check(Coding::Identity, zeros.clone(), Err("too_large"));
    // Just the limit is fine.
    check(Coding::Gzip, gzip(&zeros[..LIMIT]), Ok(&zeros[..LIMIT]));
}

#[test]
fn e19_a_huge_zstd_window_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&sample(1_000)).unwrap();
    check(Coding::Zstd, encoder.finish().unwrap(), Err("malformed"));
}

#[test]
fn admission_believes_only_what_can_be_true() {
    let plain = sample(5_000);
    assert_eq!(expected_bytes(Coding::Gzip, &gzip(&plain), LIMIT), 5_000);
    assert_eq!(expected_bytes(Coding::Zstd, &zstd::bulk::compress(&plain, 1).unwrap(), LIMIT), 5_000);
    // A trailer that states 4 GiB for 20 bytes.
    let lie = [GZIP_MAGIC, &[0; 13], &[0xff; 4]].concat();
    assert_eq!(expected_bytes(Coding::Gzip, &lie, LIMIT), lie.len() * RATIO_GUESS);
    assert_eq!(expected_bytes(Coding::Identity, &plain, LIMIT), 0);
}
