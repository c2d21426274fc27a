//! Reads request bodies, within limits and admission, and makes answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::admit::{Admission, Permit};
use super::error::ExportError;

/// How much is admitted at a time of a body that does not say how long it is.
const STEP_BYTES: usize = 64 << 10;

/// Bytes that come in pieces and, mostly, in one.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    first: Bytes,
    all: BytesMut,
}

impl Gather {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Adds a piece. `total` is how long all will be, as far as that is known.
    pub(crate) fn push(&mut self, piece: Bytes, total: usize) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(total.max(self.first.len() + piece.len()));
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&piece);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn next_piece<B>(body: &mut B) -> Result<Option<Bytes>, ExportError>
where
    B: Body<Data = Bytes> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ExportError::Disconnected)?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads the whole body of an HTTP request. Its bytes are admitted before they are read where
/// their number is known, else piece by piece. Cancel safe: what was admitted is given back.
pub(crate) async fn read_whole<B>(
    body: &mut B,
    limit: usize,
    admission: &Admission,
) -> Result<(Bytes, Permit), ExportError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let stated = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if let Some(bytes) = stated.filter(|bytes| *bytes > limit) {
        return Err(ExportError::TooLarge { bytes, limit });
    }
    let mut admitted = stated.unwrap_or(STEP_BYTES.min(limit));
    let mut permit = admission.admit(admitted).await?;
    let mut gather = Gather::default();
    while let Some(piece) = next_piece(body).await? {
        let bytes = gather.len() + piece.len();
        if bytes > limit {
            return Err(ExportError::TooLarge { bytes, limit });
        }
        if bytes > admitted {
            // What was read so far is copied at most twice: the steps grow with it.
            let step = (bytes - admitted).max(bytes).max(STEP_BYTES);
            permit.grow(step).await?;
            admitted += step;
        }
        gather.push(piece, stated.unwrap_or(0));
    }
    Ok((gather.into_bytes(), permit))
}

/// The body of an answer: at most one piece, then perhaps trailers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn new(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Answer { data: (!data.is_empty()).then_some(data), trailers: None }
    }

    pub(crate) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
