//! How many spans a second does one core check and bring into columns? Goals, at 512
//! spans a request: 7 M/s checked, 800,000/s from protobuf into a finished batch,
//! 300,000/s from JSON.
//!
//! As in the server, small requests share a batch: up to 64 of them, or 512 spans.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hopline_benches::workload::{Request, Workload};
use hopline_collector::decode::{Decoder, check};
use hopline_model::Signal;
use hopline_proto::json;

const SIZES: [usize; 4] = [3, 32, 512, 8192];

/// The requests of one batch.
fn requests(spans: usize) -> Vec<Request> {
    let mut workload = Workload::new(42);
    let many = (512 / spans).clamp(1, 64);
    (0..many).map(|_| workload.request(spans)).collect()
}

/// Measures `run` over the batch of each size, its requests encoded by `encode`.
fn measure(
    c: &mut Criterion,
    name: &str,
    encode: impl Fn(&Request) -> Vec<u8>,
    mut run: impl FnMut(&mut Decoder, &[u8]),
    finish: bool,
) {
    let mut group = c.benchmark_group(name);
    for spans in SIZES {
        let bodies: Vec<Vec<u8>> = requests(spans).iter().map(&encode).collect();
        group.throughput(Throughput::Elements((bodies.len() * spans) as u64));
        let mut decoder = Decoder::new();
        group.bench_with_input(BenchmarkId::from_parameter(spans), &bodies, |b, bodies| {
            b.iter(|| {
                bodies.iter().for_each(|body| run(&mut decoder, body));
                if finish {
                    black_box(decoder.finish());
                }
            });
        });
    }
    group.finish();
}

fn checks(c: &mut Criterion) {
    measure(c, "check", Request::protobuf, |_, body| drop(black_box(check(Signal::Traces, body)).unwrap()), false);
}

fn push(decoder: &mut Decoder, body: &[u8]) {
    decoder.push(Signal::Traces, "default", body).unwrap();
}

fn protobuf(c: &mut Criterion) {
    measure(c, "protobuf", Request::protobuf, push, true);
}

/// One batch a request: what the fixed costs of a batch are.
fn alone(c: &mut Criterion) {
    let run = |decoder: &mut Decoder, body: &[u8]| {
        push(decoder, body);
        black_box(decoder.finish());
    };
    measure(c, "protobuf_alone", Request::protobuf, run, false);
}

fn from_json(c: &mut Criterion) {
    let mut plain = Vec::new();
    let run = |decoder: &mut Decoder, body: &[u8]| {
        plain.clear();
        json::transcode(json::Message::Traces, body, &mut plain).unwrap();
        push(decoder, &plain);
    };
    measure(c, "json", |request| request.json().into_bytes(), run, true);
}

fn gzip(c: &mut Criterion) {
    let encode = |request: &Request| {
        let plain = request.protobuf();
        let mut gzip = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(6).unwrap());
        let mut out = vec![0; gzip.gzip_compress_bound(plain.len())];
        let len = gzip.gzip_compress(&plain, &mut out).unwrap();
        out.truncate(len);
        out
    };
    let (mut inflate, mut plain) = (libdeflater::Decompressor::new(), Vec::new());
    let run = |decoder: &mut Decoder, body: &[u8]| {
        // The last four bytes of gzip tell the length.
        let len = body.last_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len) as usize);
        plain.resize(len, 0);
        inflate.gzip_decompress(body, &mut plain).unwrap();
        push(decoder, &plain);
    };
    measure(c, "gzip", encode, run, true);
}

fn zstd(c: &mut Criterion) {
    let mut inflate = zstd::bulk::Decompressor::new().unwrap();
    let run = |decoder: &mut Decoder, body: &[u8]| {
        // The head of a frame tells the length.
        let len = zstd::zstd_safe::get_frame_content_size(body).unwrap().unwrap();
        push(decoder, &inflate.decompress(body, len as usize).unwrap());
    };
    measure(c, "zstd", |request| zstd::bulk::compress(&request.protobuf(), 3).unwrap(), run, true);
}

criterion_group!(benches, checks, protobuf, alone, from_json, gzip, zstd);
criterion_main!(benches);
