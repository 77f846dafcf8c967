//! What only quinn's statistics show of a client: the frames of QUIC itself (RFC 9000, section 19).

use std::time::Instant;

use super::streams::Link;
use crate::accept::meter::{Flood, FrameKind};

/// Looks at the statistics every so many requests, each second while the connection is active, and else as seldom as its other
/// bounds are looked at: a flood may go on for as long. Acknowledgements and STREAM frames, however small, are not bounded:
/// quinn does not tell what is in them.
pub(super) struct Probe {
    seen: quinn::FrameStats,
    datagrams: u64,
    at: Instant,
    opened: u32,
}

impl Probe {
    pub(super) fn new(link: &Link, now: Instant) -> Self {
        let stats = link.stats();
        Self { seen: stats.frame_rx, datagrams: stats.udp_rx.datagrams, at: now, opened: 0 }
    }

    /// Notes a request; whether it is time to look.
    pub(super) fn opened(&mut self) -> bool {
        self.opened += 1;
        self.opened >= LOOK_REQUESTS
    }

    /// Whether anything came since the last look.
    pub(super) fn look(&mut self, link: &Link, now: Instant) -> Result<bool, Flood> {
        let stats = link.stats();
        let new = |count: fn(&quinn::FrameStats) -> u64| {
            count(&stats.frame_rx).saturating_sub(count(&self.seen))
                / now.saturating_duration_since(self.at).as_secs().max(1)
        };
        let counts = [
            (FrameKind::RstStream, new(|frames| frames.reset_stream + frames.stop_sending)),
            (FrameKind::Ping, new(|frames| frames.ping + frames.path_challenge + frames.immediate_ack)),
            (
                FrameKind::WindowUpdate,
                new(|frames| {
                    frames.max_data + frames.max_stream_data + frames.max_streams_bidi + frames.max_streams_uni
                }),
            ),
            (
                FrameKind::Other,
                new(|frames| {
                    frames.new_connection_id
                        + frames.retire_connection_id
                        + frames.data_blocked
                        + frames.stream_data_blocked
                        + frames.streams_blocked_bidi
                        + frames.streams_blocked_uni
                        + frames.path_response
                        + frames.datagram
                        + frames.ack_frequency
                }),
            ),
        ];
        for (kind, count) in counts {
            link.counted(kind, count)?;
        }
        let active = stats.udp_rx.datagrams > self.datagrams;
        *self = Self { seen: stats.frame_rx, datagrams: stats.udp_rx.datagrams, at: now, opened: 0 };
        Ok(active)
    }
}

/// A look costs a lock and a copy of some hundred bytes.
const LOOK_REQUESTS: u32 = 32;
