//! Where in the stream a node is, and whether anything is missing between there and what it sees.

/// What a node has heard: everything of that stream up to that message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// When the stream was made, in nanoseconds since 1970. Another one of the same name was made at another time.
    pub(super) made: i128,
    /// The number of the last message.
    pub(super) last: u64,
}

/// A stream, as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// When it was made.
    pub(super) made: i128,
    /// The number of the oldest message that it keeps; if it keeps none, of the next.
    pub(super) first: u64,
    /// The number of the last message that it took.
    pub(super) last: u64,
}

/// What a message is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was heard before.
    Again,
    /// It is the next one.
    Next,
    /// There were others before it, which the stream no longer keeps.
    Gap,
}

impl Place {
    /// The end of a stream: what comes from now on is to be heard.
    pub(super) fn end_of(found: Found) -> Self {
        Self { made: found.made, last: found.last }
    }

    /// Whether the stream still has all that was not heard of it.
    pub(super) fn goes_on(self, found: Found) -> bool {
        self.made == found.made && found.first <= self.last.saturating_add(1) && self.last <= found.last
    }

    /// Goes on to a message. The stream MUST hold nothing that is not told to every node: then its numbers have no gaps.
    pub(super) fn hear(&mut self, number: u64) -> Heard {
        if number <= self.last {
            return Heard::Again;
        }
        let next = self.last.saturating_add(1);
        self.last = number;
        if number == next { Heard::Next } else { Heard::Gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_while_it_keeps_what_was_not_heard() {
        let place = Place { made: 7, last: 10 };
        let goes_on = |made, first, last| place.goes_on(Found { made, first, last });
        assert!(goes_on(7, 1, 10) && goes_on(7, 11, 10) && goes_on(7, 11, 30) && goes_on(7, 4, 30));
        assert!(!goes_on(7, 12, 30), "the eleventh is gone");
        assert!(!goes_on(7, 12, 11), "all are gone, one of them not heard");
        assert!(!goes_on(7, 1, 9), "it was taken back to what it was earlier");
        assert!(!goes_on(8, 1, 10), "it is another");
        assert!(Place::end_of(Found { made: 7, first: 0, last: 0 }).goes_on(Found { made: 7, first: 0, last: 0 }));
    }

    #[test]
    fn messages_are_counted_without_gaps() {
        let mut place = Place { made: 7, last: 10 };
        assert_eq!([11, 12, 11, 12, 14, 13, 15].map(|number| place.hear(number)), {
            use Heard::{Again, Gap, Next};
            [Next, Next, Again, Again, Gap, Again, Next]
        });
    }
}
