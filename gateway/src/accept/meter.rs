//! The frame meter: counts the frames that a client sends, under the codec, because the codec answers floods of cheap frames
//! for ever (CVE-2023-44487 rapid reset, CVE-2019-9512 ping, -9515 settings, -9518 empty frames, ...). It reads those of HTTP/2
//! itself; those of HTTP/3 and QUIC are told to it.

use std::time::{Duration, Instant};

/// Reads frame headers (RFC 9113, section 4.1) out of the client's bytes, however they are split.
#[derive(Debug)]
pub struct Meter {
    /// Control frames allowed in one second.
    limit: u32,
    window: Option<Instant>,
    count: u64,
    /// Window updates that answer what was sent to the client, or open a stream: not counted.
    credit: u64,
    /// Bytes sent to the client that have not become credit.
    sent: u64,
    highest_stream: u32,
    state: State,
}

/// Frames by type (RFC 9113, section 6; RFC 9114, section 7; RFC 9000, section 19), as floods are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// DATA that carries no data, or padding.
    EmptyData,
    /// HEADERS on a stream that was opened before; in HTTP/3, more than a request and its trailers have.
    Headers,
    /// PRIORITY and `PRIORITY_UPDATE`.
    Priority,
    /// `RST_STREAM`; in QUIC, `RESET_STREAM` and `STOP_SENDING`.
    RstStream,
    /// SETTINGS.
    Settings,
    /// PING; in QUIC, `PATH_CHALLENGE` as well.
    Ping,
    /// `WINDOW_UPDATE`; in QUIC, `MAX_DATA` and its like.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// Anything else.
    Other,
}

impl FrameKind {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyData => "empty_data",
            Self::Headers => "headers",
            Self::Priority => "priority",
            Self::RstStream => "rst_stream",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::WindowUpdate => "window_update",
            Self::Continuation => "continuation",
            Self::Other => "other",
        }
    }
}

/// The client sent more control frames in a second than it may: the connection MUST be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many control frames in a second, the last one was {}", .0.name())]
pub struct Flood(pub FrameKind);

impl Meter {
    /// A meter at the start of a connection.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            window: None,
            count: 0,
            credit: 0,
            sent: 0,
            highest_stream: 0,
            state: State::Skip(u64::from(PREFACE)),
        }
    }

    /// Bytes were sent to the client, which may answer them with window updates.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
        self.credit = (self.credit + self.sent / CREDIT_BYTES).min(CREDIT_MAX);
        self.sent %= CREDIT_BYTES;
    }

    /// The client sent bytes. `now` is asked only if a frame among them counts.
    ///
    /// # Errors
    /// If they hold the frame that goes over the limit.
    pub fn received(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Skip(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= step as u64;
                    bytes = bytes.get(step..).unwrap_or_default();
                    if *left == 0 {
                        self.state = State::Header { read: 0, bytes: [0; 9] };
                    }
                }
                State::Header { read, bytes: header } => {
                    for (to, from) in header.iter_mut().skip(*read).zip(bytes) {
                        *to = *from;
                    }
                    let step = (header.len() - *read).min(bytes.len());
                    *read += step;
                    bytes = bytes.get(step..).unwrap_or_default();
                    if *read == header.len() {
                        let header = *header;
                        self.frame(header, &now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A request was opened, for whose answer the client may open its windows: for the stream and for the connection.
    pub fn opened(&mut self) {
        self.credit = (self.credit + 2).min(CREDIT_MAX);
    }

    /// Window updates, of which those that answer what was sent are not counted.
    ///
    /// # Errors
    /// As [`Meter::counted`].
    pub fn updates(&mut self, updates: u64, now: Instant) -> Result<(), Flood> {
        let excess = updates.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(updates);
        self.counted(FrameKind::WindowUpdate, excess, now)
    }

    /// Frames that count.
    ///
    /// # Errors
    /// If they go over the limit.
    pub fn counted(&mut self, kind: FrameKind, frames: u64, now: Instant) -> Result<(), Flood> {
        if frames == 0 {
            return Ok(());
        }
        match self.window {
            Some(start) if now.saturating_duration_since(start) < WINDOW => {}
            _ => {
                self.window = Some(now);
                self.count = 0;
            }
        }
        self.count = self.count.saturating_add(frames);
        if self.count > u64::from(self.limit) { Err(Flood(kind)) } else { Ok(()) }
    }

    fn frame(&mut self, header: [u8; 9], now: &impl Fn() -> Instant) -> Result<(), Flood> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = header;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        self.state =
            if length == 0 { State::Header { read: 0, bytes: [0; 9] } } else { State::Skip(u64::from(length)) };
        match self.counts(kind, flags, length, stream) {
            Some(kind) => self.counted(kind, 1, now()),
            None => Ok(()),
        }
    }

    /// `None` for what carries a request: its first HEADERS and DATA. How many of those there may be is `admit`'s business.
    fn counts(&mut self, kind: u8, flags: u8, length: u32, stream: u32) -> Option<FrameKind> {
        match kind {
            0x0 if flags & PADDED != 0 || (length == 0 && flags & END_STREAM == 0) => Some(FrameKind::EmptyData),
            0x0 => None,
            0x1 if stream > self.highest_stream => {
                self.highest_stream = stream;
                self.opened();
                None
            }
            0x1 => Some(FrameKind::Headers),
            0x2 | 0x10 => Some(FrameKind::Priority),
            0x3 => Some(FrameKind::RstStream),
            0x4 => Some(FrameKind::Settings),
            0x6 => Some(FrameKind::Ping),
            0x8 => match self.credit.checked_sub(1) {
                Some(credit) => {
                    self.credit = credit;
                    None
                }
                None => Some(FrameKind::WindowUpdate),
            },
            0x9 => Some(FrameKind::Continuation),
            _ => Some(FrameKind::Other),
        }
    }
}

#[derive(Debug)]
enum State {
    /// The connection preface, or a frame's payload.
    Skip(u64),
    Header {
        read: usize,
        bytes: [u8; 9],
    },
}

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, section 3.4). That it is there is the codec's business.
const PREFACE: u32 = 24;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
const WINDOW: Duration = Duration::from_secs(1);
/// One window update is expected for so many bytes at most often: clients that update per DATA frame read larger ones.
const CREDIT_BYTES: u64 = 512;
/// What can be saved up: a long transfer must not pay for a later flood.
const CREDIT_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 50;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn begun() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(0x4, 0, 0, &[]));
        bytes
    }

    fn feed(meter: &mut Meter, bytes: &[u8]) -> Result<(), Flood> {
        let now = Instant::now();
        meter.received(bytes, || now)
    }

    #[test]
    fn a_rapid_reset_is_a_flood() {
        let mut bytes = begun();
        for request in 0..LIMIT {
            bytes.extend(frame(0x1, 0x5, request * 2 + 1, b"\x82"));
            bytes.extend(frame(0x3, 0, request * 2 + 1, &[0, 0, 0, 8]));
        }
        assert_eq!(feed(&mut Meter::new(LIMIT), &bytes), Err(Flood(FrameKind::RstStream)));
    }

    #[test]
    fn each_cheap_frame_is_a_flood_of_its_kind() {
        let cases: [(u8, u8, u32, &[u8], FrameKind); 8] = [
            (0x6, 0, 0, &[0; 8], FrameKind::Ping),
            (0x4, 0, 0, &[0, 3, 0, 0, 0, 1], FrameKind::Settings),
            (0x2, 0, 1, &[0; 5], FrameKind::Priority),
            (0x8, 0, 0, &[0, 0, 0, 1], FrameKind::WindowUpdate),
            (0x9, 0, 1, &[], FrameKind::Continuation),
            (0x0, 0, 1, &[], FrameKind::EmptyData),
            (0x0, 0x8, 1, &[1, 0], FrameKind::EmptyData),
            (0xee, 0, 1, b"grease", FrameKind::Other),
        ];
        for (kind, flags, stream, payload, expected) in cases {
            let mut bytes = begun();
            for _ in 0..LIMIT {
                bytes.extend(frame(kind, flags, stream, payload));
            }
            assert_eq!(feed(&mut Meter::new(LIMIT), &bytes), Err(Flood(expected)), "{expected:?}");
        }
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_split() {
        let mut bytes = begun();
        bytes.extend(frame(0x0, 0, 1, &[7; 300]));
        for _ in 0..LIMIT {
            bytes.extend(frame(0x6, 0, 0, &[0; 8]));
        }
        for size in [1, 2, 3, 5, 8, 9, 10, 23, 24, 25, 1000] {
            let mut meter = Meter::new(LIMIT);
            let flood = bytes.chunks(size).find_map(|chunk| feed(&mut meter, chunk).err());
            assert_eq!(flood, Some(Flood(FrameKind::Ping)), "chunks of {size}");
        }
    }

    #[test]
    fn an_honest_client_is_not_hurt_however_much_it_asks() {
        let mut meter = Meter::new(LIMIT);
        feed(&mut meter, &begun()).unwrap();
        for request in 0..10_000 {
            let stream = request * 2 + 1;
            let mut bytes = frame(0x1, 0x4, stream, b"\x82");
            bytes.extend(frame(0x0, 0, stream, &[1; 200]));
            bytes.extend(frame(0x0, 0x1, stream, &[]));
            feed(&mut meter, &bytes).unwrap();
            meter.sent(1024);
            let mut updates = frame(0x8, 0, stream, &[0, 0, 4, 0]);
            updates.extend(frame(0x8, 0, 0, &[0, 0, 4, 0]));
            feed(&mut meter, &updates).unwrap();
        }
    }

    #[test]
    fn what_was_saved_up_is_bounded() {
        let mut meter = Meter::new(LIMIT);
        feed(&mut meter, &begun()).unwrap();
        meter.sent(1 << 30);
        let update = frame(0x8, 0, 0, &[0, 0, 0, 1]);
        let accepted = (0..100_000).take_while(|_| feed(&mut meter, &update).is_ok()).count();
        assert!(accepted < 5_000, "{accepted} window updates passed");
    }

    #[test]
    fn the_count_begins_anew_each_second() {
        let start = Instant::now();
        let mut meter = Meter::new(LIMIT);
        feed(&mut meter, &begun()[..24]).unwrap();
        for second in 0..5 {
            for _ in 0..LIMIT {
                meter.received(&frame(0x6, 0, 0, &[0; 8]), || start + Duration::from_secs(second)).unwrap();
            }
        }
        let last = meter.received(&frame(0x6, 0, 0, &[0; 8]), || start + Duration::from_millis(4_999));
        assert_eq!(last, Err(Flood(FrameKind::Ping)));
    }
}
