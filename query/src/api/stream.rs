//! An answer that is written piece by piece while it is sent.
//!
//! The writing runs on a thread for blocking work and waits when the client is slow. What
//! ends within one piece is sent with its length; an error before the first piece is an
//! answer of its own, one behind it breaks the connection, so that no client takes a part
//! for the whole.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::render::break_off::{self, MayBreakOff};

/// About how large a piece is.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// Takes a piece; false when nobody reads any more.
pub(super) type Send<'a> = &'a mut dyn FnMut(Vec<u8>) -> bool;

/// The answer that `write` makes.
pub(super) async fn body<W>(content_type: &'static str, write: W) -> Result<Response, Error>
where
    W: FnOnce(Send<'_>) -> Result<(), Error> + std::marker::Send + 'static,
{
    let (sender, mut pieces) = mpsc::channel::<Result<Bytes, Error>>(2);
    tokio::task::spawn_blocking(move || {
        let mut gone = false;
        let result = write(&mut |piece| {
            gone |= !piece.is_empty() && sender.blocking_send(Ok(piece.into())).is_err();
            !gone
        });
        if let (Err(error), false) = (result, gone) {
            // If nobody reads any more, nobody misses it.
            let _unread = sender.blocking_send(Err(error));
        }
    });
    let headers = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept")];
    let first = pieces.recv().await.transpose()?.unwrap_or_default();
    let Some(second) = pieces.recv().await else { return Ok((headers, first).into_response()) };
    let rest = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) }).fuse();
    let all = stream::iter([Ok(first), second]).chain(rest).then(|piece| async {
        if let Err(error) = &piece {
            error.log();
            break_off::pass_on().await;
        }
        piece
    });
    let mut response = (headers, Body::from_stream(all)).into_response();
    response.extensions_mut().insert(MayBreakOff);
    Ok(response)
}
