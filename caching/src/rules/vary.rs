//! For which requests a response is one (RFC 9111 section 4.1).

use http::HeaderMap;
use http::header::{ACCEPT_LANGUAGE, HeaderName, VARY};

use super::list;

/// The fields that `Vary` names, in alphabetical order, with what the request said in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant {
    /// `None`: it said nothing. Values are brought into one form first: lines joined, no space about commas and, for
    /// languages, in small letters and one order.
    pub fields: Vec<(HeaderName, Option<Vec<u8>>)>,
}

impl Variant {
    /// For a request with these fields, by a response with that `Vary`. `None` where it says `*`, or something that is
    /// not a name of a field: then it is for no other request.
    pub fn of(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let mut fields = Vec::new();
        for name in response.get_all(VARY).iter().flat_map(|line| list::members(line.as_bytes())) {
            if name == b"*" {
                return None;
            }
            let name = HeaderName::from_bytes(name).ok()?;
            let value = normal(request, &name);
            fields.push((name, value));
        }
        fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        fields.dedup();
        Some(Self { fields })
    }

    /// Whether a request says the same in all of them.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, value)| normal(request, name) == *value)
    }
}

fn normal(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    if !request.contains_key(name) {
        return None;
    }
    let members = request.get_all(name).iter().flat_map(|line| list::members(line.as_bytes()));
    if name == ACCEPT_LANGUAGE {
        return Some(languages(members));
    }
    Some(members.collect::<Vec<_>>().join(&b','))
}

/// RFC 9110 section 12.5.4: case means nothing, and order cannot be relied upon; only the weight counts.
fn languages<'a>(members: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let small = |member: &[u8]| {
        let bare: Vec<u8> = member.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
        bare.to_ascii_lowercase()
    };
    let mut all: Vec<Vec<u8>> = members.map(small).collect();
    all.sort();
    all.dedup();
    all.join(&b',')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn same(vary: &str, one: &[(&'static str, &str)], other: &[(&'static str, &str)]) -> bool {
        Variant::of(&headers(one), &headers(&[("vary", vary)])).unwrap().matches(&headers(other))
    }

    /// RFC 9111 section 4.1: all nominated fields match, or are absent in both.
    #[test]
    fn a_variant_matches_when_all_its_fields_do() {
        assert!(same("Foo, Bar", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")]));
        assert!(!same("Foo", &[("foo", "1")], &[("foo", "2")]));
        assert!(!same("Foo", &[], &[("foo", "")]), "absent is not empty");
        assert!(!same("Foo", &[("foo", "1")], &[]));
        assert!(!same("foo, bar", &[("foo", "1"), ("bar", "a")], &[("foo", "1"), ("bar", "b")]));
    }

    /// RFC 9111 section 4.1: transformed with the same meaning.
    #[test]
    fn values_with_the_same_meaning_are_the_same() {
        assert!(same("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(same("foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")]));
        assert!(!same("foo", &[("foo", "1,2")], &[("foo", "2,1")]));
        assert!(!same("foo", &[("foo", "\"1,2\"")], &[("foo", "\"1, 2\"")]), "quoted");
        assert!(same(
            "accept-language",
            &[("accept-language", "en, de;q=0.5")],
            &[("accept-language", "DE ;q=0.5 ,En")]
        ));
    }

    /// RFC 9111 section 4.1: a star matches nothing.
    #[test]
    fn a_star_anywhere_is_for_nobody_else() {
        for star in ["*", "*, *", ", *", "*, Foo", "Foo, *", "a b"] {
            assert_eq!(Variant::of(&headers(&[]), &headers(&[("vary", star)])), None, "{star}");
        }
        assert!(Variant::of(&headers(&[]), &headers(&[("vary", "")])).is_some());
    }

    proptest::proptest! {
        /// A request always matches its own variant.
        #[test]
        fn a_request_matches_itself(value in "[ -~]{0,20}", vary in "[a-z]{1,8}(, ?[a-z]{1,8}){0,3}") {
            let mut request = HeaderMap::new();
            for name in vary.split(',') {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).unwrap();
                request.append(name, HeaderValue::from_str(&value).unwrap());
            }
            let variant = Variant::of(&request, &headers(&[("vary", &vary)])).unwrap();
            proptest::prop_assert!(variant.matches(&request));
        }
    }
}
