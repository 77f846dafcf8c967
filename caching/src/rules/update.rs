//! What a 304 and the answer to a HEAD change in what is stored (RFC 9111 sections 3.2, 4.3.4 and 4.3.5).

use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode};

use super::keep::{NotStored, Stored, Times};
use super::settings::{Asked, Limits};
use super::tag::Tag;
use super::vary::Variant;
use super::{Rulebook, fields};

/// A stored response with the fields of a 304.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// To answer with now.
    pub stored: Stored,
    /// Whether it may still be stored; else what was stored goes, unless [`NotStored::is_the_requests`].
    pub keep: Result<(), NotStored>,
}

/// What becomes of a stored response after a HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// Nothing.
    None,
    /// It is as new, with these fields.
    Update(Box<Stored>),
    /// It is not what the origin has now.
    Invalidate,
}

impl Rulebook {
    /// Which of the stored responses a 304 is about, when `sent` is the one whose validators were sent (RFC 9111
    /// section 4.3.4). Empty: none; then the 304 tells nothing, and the origin MUST be asked again without conditions.
    pub fn identify(&self, stored: &[&Stored], sent: usize, headers: &HeaderMap) -> Vec<usize> {
        let youngest = |good: &dyn Fn(&Stored) -> bool| {
            let fit = stored.iter().enumerate().filter(|(_, stored)| good(stored));
            fit.max_by_key(|(_, stored)| (stored.made, stored.arrived)).map(|(index, _)| index)
        };
        if let Some(tag) = Tag::of_response(headers) {
            let like = |stored: &Stored| Tag::of_response(&stored.headers).is_some_and(|ours| ours.is_like(&tag));
            let is = |stored: &Stored| Tag::of_response(&stored.headers).is_some_and(|ours| ours.is(&tag));
            if tag.strong {
                return (0..stored.len()).filter(|index| stored.get(*index).is_some_and(|one| is(one))).collect();
            }
            return prefer(stored, sent, &like).or_else(|| youngest(&like)).into_iter().collect();
        }
        if let Some(changed) = headers.get(header::LAST_MODIFIED) {
            let same = |stored: &Stored| stored.headers.get(header::LAST_MODIFIED) == Some(changed);
            return prefer(stored, sent, &same).or_else(|| youngest(&same)).into_iter().collect();
        }
        // Servers leave the validators out of a 304. It was asked about one response, so it is about that one.
        stored.get(sent).map(|_| sent).into_iter().collect()
    }

    /// A stored response after a 304 about it.
    ///
    /// All fields of the 304 replace those stored, but those that tell how the stored content is to be read.
    pub fn freshen(
        &self,
        asked: &Asked<'_>,
        stored: &Stored,
        headers: &HeaderMap,
        times: Times,
        limits: &Limits,
    ) -> Merged {
        let mut all = stored.headers.clone();
        // The date of the answer is that of the 304; an old one would make it look as old as it was.
        all.remove(header::DATE);
        let mut news = headers.clone();
        fields::drop_hop_by_hop(&mut news);
        UNTOUCHED.iter().for_each(|name| drop(news.remove(name)));
        news.keys().for_each(|name| drop(all.remove(name)));
        for (name, value) in &news {
            all.append(name, value.clone());
        }
        let get = Asked { method: &http::Method::GET, ..*asked };
        match self.keep(&get, stored.status, &all, times, limits) {
            Ok(mut new) => {
                let keep = variant(&get, stored, &new).map(|variant| new.variant = variant).ok_or(NotStored::Vary);
                Merged { stored: new, keep }
            }
            Err(why) => {
                super::keep::give_date(&mut all, times.got_at);
                let age_at_arrival = super::age::at_arrival(headers, times);
                let arrived = times.got_at;
                Merged { stored: Stored { headers: all, age_at_arrival, arrived, ..stored.clone() }, keep: Err(why) }
            }
        }
    }

    /// What the 200 to a HEAD makes of a stored response for the same target.
    pub fn head(
        &self,
        asked: &Asked<'_>,
        stored: &Stored,
        status: StatusCode,
        headers: &HeaderMap,
        times: Times,
        limits: &Limits,
    ) -> HeadEffect {
        if status != StatusCode::OK || stored.status != StatusCode::OK || !stored.variant.matches(asked.headers) {
            return HeadEffect::None;
        }
        let same = |name: &HeaderName| headers.get(name).is_none_or(|new| stored.headers.get(name) == Some(new));
        let all = [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH];
        // A length that is not stored tells nothing: the content may have come in chunks.
        let same = all
            .iter()
            .all(|name| same(name) || (*name == header::CONTENT_LENGTH && !stored.headers.contains_key(name)));
        if !same {
            return HeadEffect::Invalidate;
        }
        let merged = self.freshen(asked, stored, headers, times, limits);
        match merged.keep {
            Ok(()) => HeadEffect::Update(Box::new(merged.stored)),
            Err(why) if why.is_the_requests() => HeadEffect::None,
            Err(_) => HeadEffect::Invalidate,
        }
    }
}

/// A response keeps its variant where `Vary` names the same fields; the one that was asked for takes the new names.
fn variant(asked: &Asked<'_>, old: &Stored, new: &Stored) -> Option<Variant> {
    let names = |variant: &Variant| variant.fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(&old.variant) == names(&new.variant) {
        return Some(old.variant.clone());
    }
    old.variant.matches(asked.headers).then(|| new.variant.clone())
}

fn prefer(stored: &[&Stored], sent: usize, good: &dyn Fn(&Stored) -> bool) -> Option<usize> {
    stored.get(sent).filter(|stored| good(stored)).map(|_| sent)
}

/// RFC 9111 section 3.2: `Content-Length`, and what describes the very bytes that are stored; a 304 has none itself.
static UNTOUCHED: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    HeaderName::from_static("content-digest"),
];
