//! Receiving a body whole, within a limit.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

/// Why a body was not received.
#[derive(Debug)]
pub enum Failed<E> {
    /// It is longer than the limit; the rest was not read.
    TooLarge,
    /// It broke off.
    Broken(E),
}

/// Receives a body of at most `limit` bytes. What arrives in one piece is passed on as it was read, several pieces are
/// copied into one. Trailers are dropped: nothing on either side may cross in them.
///
/// # Errors
/// [`Failed`].
pub async fn whole<B: Body<Data = Bytes> + Unpin>(mut body: B, limit: usize) -> Result<Bytes, Failed<B::Error>> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Failed::Broken)?.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > limit {
            return Err(Failed::TooLarge);
        }
        if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
