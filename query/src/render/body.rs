//! A whole answer as the body of an HTTP response.

use std::collections::HashSet;
use std::io;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, header};

use super::break_off::{self, MayBreakOff};
use super::value::{Style, member, type_name, writer};
use super::{Format, Options};
use crate::engine::{Answer, AnswerStream};
use crate::error::Error;
use hopline_proto::value::quote;

/// Answers with the rows of `answer`. Waits for the first batch, so that most of what
/// can go wrong is an HTTP status.
pub async fn respond(mut answer: Answer, format: Format, options: Options) -> Result<Response, Error> {
    let first = answer.stream.next().await.transpose()?;
    let encoder = Encoder::new(format, options, &answer.schema)?;
    let body = Writing { encoder, first, stream: answer.stream, ended: false };
    // Compression polls once more after the end.
    let chunks = futures::stream::unfold(body, |mut body| async { Some((body.next().await?, body)) }).fuse();
    let mut response = Body::from_stream(chunks).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response.extensions_mut().insert(MayBreakOff);
    Ok(response)
}

/// An answer that is being written.
struct Writing {
    encoder: Encoder,
    first: Option<RecordBatch>,
    stream: AnswerStream,
    ended: bool,
}

impl Writing {
    /// The next part of the body. An error breaks the transfer off.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let batch = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => self.stream.next().await,
        };
        let written = match batch {
            Some(Ok(batch)) => self.encoder.batch(&batch),
            Some(Err(error)) => Err(error),
            None => {
                self.ended = true;
                match self.stream.incomplete() {
                    None => self.encoder.end(),
                    Some(reason) => return Some(broken_off(self.encoder.cut(reason)).await),
                }
            }
        };
        Some(match written {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                self.ended = true;
                error.log();
                broken_off(self.encoder.failed(&error)).await
            }
        })
    }
}

/// The end of an answer. If the transfer is broken off, what comes before is passed on first.
async fn broken_off(end: io::Result<Bytes>) -> io::Result<Bytes> {
    if end.is_err() {
        break_off::pass_on().await;
    }
    end
}

/// Writes batches in one format.
struct Encoder {
    options: Options,
    kind: Kind,
}

enum Kind {
    Json { head: String, rows: bool },
    NdJson { members: Vec<String> },
    Csv { head: String },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

fn arrow_error(error: arrow::error::ArrowError) -> Error {
    Error::Internal(Box::new(error))
}

impl Encoder {
    fn new(format: Format, options: Options, schema: &SchemaRef) -> Result<Encoder, Error> {
        let kind = match format {
            Format::Json => Kind::Json { head: json_head(schema), rows: false },
            Format::NdJson => Kind::NdJson { members: members(schema) },
            Format::Csv => {
                let mut head = String::new();
                for (i, field) in schema.fields().iter().enumerate() {
                    head.push_str(if i > 0 { "," } else { "" });
                    write_csv(field.name(), &mut head);
                }
                head.push_str("\r\n");
                Kind::Csv { head }
            }
            Format::Arrow => Kind::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema).map_err(arrow_error)?)),
        };
        Ok(Encoder { options, kind })
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        match &mut self.kind {
            Kind::Json { head, rows } => {
                let mut out = std::mem::take(head);
                json_rows(batch, self.options, rows, &mut out)?;
                Ok(out.into())
            }
            Kind::NdJson { members } => ndjson_rows(batch, self.options, members).map(Bytes::from),
            Kind::Csv { head } => {
                let mut out = std::mem::take(head);
                csv_rows(batch, self.options, &mut out)?;
                Ok(out.into())
            }
            Kind::Arrow(writer) => {
                writer.write(batch).map_err(arrow_error)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
        }
    }

    fn end(&mut self) -> Result<Bytes, Error> {
        match &mut self.kind {
            Kind::Json { head, .. } => Ok((std::mem::take(head) + "],\"complete\":true}\n").into()),
            Kind::NdJson { .. } => Ok(Bytes::new()),
            Kind::Csv { head } => Ok(std::mem::take(head).into()),
            Kind::Arrow(writer) => {
                writer.finish().map_err(arrow_error)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
        }
    }

    /// The end of an answer that was cut at a limit.
    fn cut(&mut self, reason: &str) -> io::Result<Bytes> {
        let mut text = member("reason");
        quote(reason, &mut text);
        self.end_incomplete(&text, reason)
    }

    /// The end of an answer that broke off.
    fn failed(&mut self, error: &Error) -> io::Result<Bytes> {
        let problem = serde_json::to_string(&error.problem()).unwrap_or_else(|_| "null".to_owned());
        self.end_incomplete(&format!("\"error\":{problem}"), &error.to_string())
    }

    fn end_incomplete(&mut self, member: &str, reason: &str) -> io::Result<Bytes> {
        match &mut self.kind {
            Kind::Json { head, .. } => Ok(format!("{}],\"complete\":false,{member}}}\n", std::mem::take(head)).into()),
            Kind::NdJson { .. } => Ok(format!("{{\"complete\":false,{member}}}\n").into()),
            // These formats have no place for it.
            Kind::Csv { .. } | Kind::Arrow(_) => Err(io::Error::other(reason.to_owned())),
        }
    }
}

fn json_head(schema: &SchemaRef) -> String {
    let mut head = "{\"columns\":[".to_owned();
    for (i, field) in schema.fields().iter().enumerate() {
        head.push_str(if i > 0 { ",{\"name\":" } else { "{\"name\":" });
        quote(field.name(), &mut head);
        head.push_str(",\"type\":");
        quote(&type_name(field.data_type()), &mut head);
        head.push('}');
    }
    head.push_str("],\"rows\":[");
    head
}

fn json_rows(batch: &RecordBatch, options: Options, rows: &mut bool, out: &mut String) -> Result<(), Error> {
    let writers = batch.columns().iter().map(|c| writer(c.as_ref(), Style::Json, options));
    let writers = writers.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        out.push_str(if *rows { ",\n[" } else { "\n[" });
        *rows = true;
        for (i, write) in writers.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            write(row, out);
        }
        out.push(']');
    }
    Ok(())
}

/// The members' names, each once: an object cannot have two of the same name.
fn members(schema: &SchemaRef) -> Vec<String> {
    let mut used: HashSet<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut seen = HashSet::new();
    let mut unique = |name: &String| {
        if seen.insert(name.clone()) {
            return member(name);
        }
        let numbered = (2_u32..).map(|n| format!("{name}_{n}")).find(|candidate| used.insert(candidate.clone()));
        member(&numbered.unwrap_or_default())
    };
    schema.fields().iter().map(|field| unique(field.name())).collect()
}

fn ndjson_rows(batch: &RecordBatch, options: Options, members: &[String]) -> Result<String, Error> {
    let writers = batch.columns().iter().map(|c| writer(c.as_ref(), Style::Json, options));
    let writers = writers.collect::<Result<Vec<_>, _>>()?;
    let mut out = String::new();
    for row in 0..batch.num_rows() {
        out.push('{');
        for (i, (member, write)) in members.iter().zip(&writers).enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(member);
            write(row, &mut out);
        }
        out.push_str("}\n");
    }
    Ok(out)
}

fn csv_rows(batch: &RecordBatch, options: Options, out: &mut String) -> Result<(), Error> {
    let writers = batch.columns().iter().map(|c| writer(c.as_ref(), Style::Plain, options));
    let writers = writers.collect::<Result<Vec<_>, _>>()?;
    let nulls: Vec<_> = batch.columns().iter().map(|c| c.logical_nulls()).collect();
    let mut value = String::new();
    for row in 0..batch.num_rows() {
        for (i, (write, nulls)) in writers.iter().zip(&nulls).enumerate() {
            if i > 0 {
                out.push(',');
            }
            if nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                continue;
            }
            value.clear();
            write(row, &mut value);
            write_csv(&value, out);
        }
        out.push_str("\r\n");
    }
    Ok(())
}

/// Text is quoted where it must be, and where it is empty: nothing at all is null.
fn write_csv(text: &str, out: &mut String) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.push_str(text);
        return;
    }
    out.push('"');
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}
