//! Objects that are written: Amazon S3, Azure Blob Storage, Google Cloud Storage.
//!
//! A notification of S3 has the ids of the request that wrote the object, which the writer's span has too; an event of
//! Azure's blobs has that of its request. By the hook, or where headers are recorded, objects are also known by
//! bucket, key and entity tag; of Azure's blobs those stand in the request. Cloud Storage tells the generation only in the answer and in the event: a hook's key.

use super::aws_call::{AwsCall, Service};
use super::messaging::header;
use super::pointers::{s3_object_hashes, url_decoded, without_quotes};
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

const REQUEST_IDS: &[&str] =
    &["aws.request_id", "aws.request.id", "aws.requestId", "aws.extended_request_id", "aws.request.extended_id"];
pub(super) const OBJECT_KEYS: &[&str] = &["aws.s3.key", "aws.object.key"];
const ETAGS: &[&str] = &["aws.s3.etag", "http.response.header.etag"];
const VERSIONS: &[&str] = &["aws.s3.version_id", "http.response.header.x-amz-version-id"];
const BLOB_REQUESTS: &[&str] = &["az.service_request_id"];
const BLOB_ETAGS: &[&str] = &["http.response.header.etag"];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "s3.request",
        hop: "s3",
        direction: Direction::Out,
        reads: REQUEST_IDS,
        on_links: false,
        find: s3_request,
    },
    Rule {
        name: "s3.object",
        hop: "s3",
        direction: Direction::Out,
        reads: &[
            "aws.s3.etag",
            "http.response.header.etag",
            "aws.s3.version_id",
            "http.response.header.x-amz-version-id",
        ],
        on_links: false,
        find: s3_object,
    },
    Rule {
        name: "blob.request",
        hop: "blob",
        direction: Direction::Out,
        reads: BLOB_REQUESTS,
        on_links: false,
        find: blob_request,
    },
    Rule {
        name: "blob.written",
        hop: "blob",
        direction: Direction::Out,
        reads: BLOB_ETAGS,
        on_links: false,
        find: blob_written,
    },
];

/// Operations of S3 that notifications tell of.
const S3_WRITES: &[&str] = &[
    "PutObject",
    "CopyObject",
    "CompleteMultipartUpload",
    "PostObject",
    "DeleteObject",
    "DeleteObjects",
    "RestoreObject",
    "PutObjectAcl",
    "PutObjectTagging",
    "DeleteObjectTagging",
];

pub(super) fn is_s3_write(span: &Span<'_>) -> bool {
    span.kind.is_out() && AwsCall::operation_of(span, Service::S3).is_some_and(|o| S3_WRITES.contains(&o))
}

fn bucket<'a>(span: &Span<'a>) -> Option<&'a str> {
    span.attributes.first_text(&["aws.s3.bucket", "aws.bucket.name", "aws.s3.bucket.name"])
}

fn s3_request(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !is_s3_write(span) {
        return;
    }
    for id in REQUEST_IDS.iter().filter_map(|key| span.attributes.text(key)) {
        found.push(rule, Key::new(Kind::S3Request, id), bucket(span));
    }
}

/// The bucket and the key of the object that the span writes, if both are told.
pub(super) fn written<'a>(span: &Span<'a>) -> Option<(&'a str, &'a str)> {
    let object = bucket(span).zip(span.attributes.first_text(OBJECT_KEYS));
    object.filter(|_| is_s3_write(span))
}

fn s3_object(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let Some((bucket, key)) = written(span) else { return };
    let etag = header(span, ETAGS).map(|etag| (Kind::S3Object, etag));
    let version = header(span, VERSIONS).map(|version| (Kind::S3Version, version));
    for (kind, id) in etag.into_iter().chain(version) {
        for key in s3_keys(kind, bucket, key, &id, rule.direction) {
            found.push(rule, key, Some(bucket));
        }
    }
}

/// The keys of an object: as it is called, on the reading side also with its key decoded, and as span pointers.
fn s3_keys(kind: Kind, bucket: &str, key: &str, id: &str, side: Direction) -> Vec<Key> {
    let id = without_quotes(id);
    let mut keys = vec![Key::new(kind, format!("{bucket}|{key}|{id}"))];
    let decoded = url_decoded(key);
    if side == Direction::In && decoded != key {
        keys.push(Key::new(kind, format!("{bucket}|{decoded}|{id}")));
    }
    if kind == Kind::S3Object {
        let hashes = s3_object_hashes(bucket, key, id, side);
        keys.extend(hashes.into_iter().map(|hash| Key::new(Kind::S3Pointer, hash)));
    }
    keys
}

/// The keys of an object's identity `<bucket>|<key>|<tag or version>`. The key may have a `|` itself.
pub(super) fn s3_forms(kind: Kind, id: &str, side: Direction) -> Vec<Key> {
    let parts = id.split_once('|').and_then(|(bucket, rest)| Some((bucket, rest.rsplit_once('|')?)));
    match parts {
        Some((bucket, (key, tag))) => s3_keys(kind, bucket, key, tag, side),
        None => vec![Key::new(kind, id)],
    }
}

/// The key of a blob's identity `<container>|<name>|<etag>`.
pub(super) fn blob_forms(id: &str) -> Vec<Key> {
    let id = id.rsplit_once('|').map(|(blob, etag)| format!("{blob}|{}", without_quotes(etag)));
    id.map(|id| Key::new(Kind::Blob, id)).into_iter().collect()
}

/// Whether a request of Azure's storage writes. SDKs make a span for the call and one below it for the request.
fn is_blob_write(span: &Span<'_>) -> bool {
    let of = |key: &str| span.attributes.text(key);
    let is_storage = of("az.namespace") == Some("Microsoft.Storage")
        || ["url.full", "server.address"].iter().any(|key| of(key).is_some_and(|host| host.contains(".blob.core.")));
    let writes = of("http.request.method").is_none_or(|method| matches!(method, "PUT" | "POST" | "PATCH" | "DELETE"));
    span.kind.is_out() && is_storage && writes
}

fn blob_request(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !is_blob_write(span) {
        return;
    }
    for id in BLOB_REQUESTS.iter().filter_map(|key| span.attributes.text(key)) {
        found.push(rule, Key::new(Kind::BlobRequest, id), None);
    }
}

/// A blob by the URL that it is written to, and the entity tag in the answer.
fn blob_written(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let blob = span.attributes.text("url.full").and_then(blob_of_url).filter(|_| is_blob_write(span));
    if let (Some((container, name)), Some(etag)) = (blob, header(span, BLOB_ETAGS)) {
        let id = format!("{container}|{}|{}", url_decoded(name), without_quotes(&etag));
        found.push(rule, Key::new(Kind::Blob, id), Some(container));
    }
}

/// The container and the name in `https://<account>.blob.core.windows.net/<container>/<name>`.
fn blob_of_url(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let (host, path) = rest.split('?').next()?.split_once('/')?;
    path.split_once('/')
        .filter(|(container, name)| host.contains(".blob.core.") && !container.is_empty() && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value;
    use crate::span::Value::{Json, Text};

    fn put(method: &str) -> [(&'static str, Value<'_>); 4] {
        [
            ("rpc.service", Text("S3")),
            ("rpc.method", Text(method)),
            ("aws.request_id", Text("C3D13FE58DE4C810")),
            ("aws.s3.bucket", Text("audit")),
        ]
    }

    #[test]
    fn requests_that_write() {
        for method in ["PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"] {
            Probe::client(&put(method)).keys(&["s3.request out s3.req:C3D13FE58DE4C810 @audit"]);
        }
        for method in ["GetObject", "HeadObject", "ListObjectsV2", "UploadPart"] {
            Probe::client(&put(method)).keys(&[]);
        }
    }

    #[test]
    fn the_extended_id_too() {
        let span = |key, id: &'static str| {
            [("rpc.service", Text("AmazonS3")), ("rpc.method", Text("PutObject")), (key, Text(id))]
        };
        let id = "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD";
        let expected = format!("s3.request out s3.req:{id}");
        Probe::client(&span("aws.extended_request_id", id)).keys(&[&expected]);
        Probe::client(&span("aws.request.extended_id", id)).keys(&[&expected]);
        Probe::client(&span("aws.request.id", id)).keys(&[&expected]);
    }

    #[test]
    fn objects_where_the_tag_is_recorded() {
        let span = [
            ("rpc.method", Text("S3/PutObject")),
            ("aws.s3.bucket", Text("mybucket")),
            ("aws.s3.key", Text("red flower.jpg")),
            ("http.response.header.etag", Json("[\"\\\"123abc\\\"\"]")),
            ("http.response.header.x-amz-version-id", Json("[\"v1\"]")),
        ];
        Probe::client(&span).keys(&[
            "s3.object out s3.obj:mybucket|red flower.jpg|123abc @mybucket",
            "s3.object out s3.ptr:59a7ed2269d917b09ce623c4eb416d2c @mybucket",
            "s3.object out s3.ptr:c99278931dfbfc73b3a5362c1450247b @mybucket",
            "s3.object out s3.ver:mybucket|red flower.jpg|v1 @mybucket",
        ]);
    }

    #[test]
    fn objects_by_identity() {
        let keys = |id, side| -> Vec<String> {
            s3_forms(Kind::S3Object, id, side).iter().map(Key::to_string).filter(|k| !k.starts_with("s3.ptr")).collect()
        };
        assert_eq!(keys("b|a|b.txt|\"e\"", Direction::Out), ["s3.obj:b|a|b.txt|e"]);
        assert_eq!(keys("b|a+b.txt|e", Direction::In), ["s3.obj:b|a+b.txt|e", "s3.obj:b|a b.txt|e"]);
        assert_eq!(keys("b|a+b.txt|e", Direction::Out), ["s3.obj:b|a+b.txt|e"]);
        assert_eq!(keys("x", Direction::Out), ["s3.obj:x"]);
    }

    #[test]
    fn blobs() {
        let span = |method| {
            [
                ("az.namespace", Text("Microsoft.Storage")),
                ("az.service_request_id", Text("831e1650-001e-001b-66ab-eeb76e069631")),
                ("http.request.method", Text(method)),
            ]
        };
        Probe::client(&span("PUT")).keys(&["blob.request out blob.req:831e1650-001e-001b-66ab-eeb76e069631"]);
        Probe::client(&span("GET")).keys(&[]);
        assert_eq!(blob_forms("c|a/b|\"0x8D4\""), [Key::new(Kind::Blob, "c|a/b|0x8D4")]);
    }

    #[test]
    fn blobs_where_the_tag_is_recorded() {
        let span = |url| {
            [
                ("url.full", Text(url)),
                ("http.request.method", Text("PUT")),
                ("http.response.header.etag", Json("[\"\\\"0x8D4\\\"\"]")),
            ]
        };
        Probe::client(&span("https://shop.blob.core.windows.net/pictures/a%20b/c.png?sv=2024"))
            .keys(&["blob.written out blob:pictures|a b/c.png|0x8D4 @pictures"]);
        Probe::client(&span("https://shop.blob.core.windows.net/pictures")).keys(&[]);
        Probe::client(&span("https://example.org/pictures/a.png")).keys(&[]);
    }
}
