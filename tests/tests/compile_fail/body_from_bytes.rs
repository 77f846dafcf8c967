//! A response body cannot be built from bytes: none of its variants is in reach, and nothing converts into it.

use bytes::Bytes;
use popgate::respond::Body;

fn main() {
    let bytes = Bytes::from_static(b"{}");
    let _ = Body(bytes.clone()); //~ E0423
    let _ = Body::from(bytes.clone()); //~ E0308
    let _: Body = bytes.into(); //~ E0277
    let _ = Body::default(); //~ E0599
}
