//! A body that is no disclosure and no refusal is a view's, and a view is made of a bundle alone.

use popgate_policy::view::View;

fn of_any_document(document: &serde_json::Value) -> View {
    View::of(document) //~ E0624
}

fn by_default() -> View {
    View::default() //~ E0599
}

fn main() {}
