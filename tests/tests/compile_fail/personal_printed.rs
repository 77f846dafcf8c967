//! A personal value is not a string: it cannot be passed for one by accident, nor serialized.

use popgate_policy::model::Personal;

fn dereferenced(value: &Personal<String>) -> &str {
    value //~ E0308
}

fn as_reference(value: &Personal<String>) -> &str {
    value.as_ref() //~ E0599
}

fn field(value: Personal<String>) -> String {
    value.0 //~ E0616
}

fn converted(value: Personal<String>) -> String {
    value.into() //~ E0277
}

fn compared(value: &Personal<String>) -> bool {
    *value == "001187974118" //~ E0308
}

fn serialized(value: &Personal<String>) -> serde_json::Value {
    serde_json::to_value(value).unwrap() //~ E0277
}

fn main() {}
