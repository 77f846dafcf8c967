//! A second, strict reader of HTTP/1 framing beside hyper's. Where the two could disagree, the request is refused.

use super::{BOTH_LENGTHS, Fault};

/// Follows the messages of one HTTP/1 connection over its decrypted bytes, however they are split.
#[derive(Debug)]
pub(in crate::accept) struct Observer {
    phase: Phase,
    /// An unfinished line.
    line: Vec<u8>,
    head: Head,
    /// The longest line to be kept.
    limit: usize,
    heads: u64,
    fault: Option<(u64, Fault)>,
}

impl Observer {
    pub(in crate::accept) fn new(limit: usize) -> Self {
        Self { phase: Phase::Head, line: Vec::new(), head: Head::default(), limit, heads: 0, fault: None }
    }

    /// What is wrong with the n-th request of the connection, counted from 1, as far as its bytes were seen.
    pub(in crate::accept) fn fault(&self, request: u64) -> Option<Fault> {
        match self.fault {
            Some((from, fault)) => (request >= from).then_some(fault),
            // hyper sees a request where this reader saw none.
            None => (self.heads < request).then_some(Fault("the request can be read in two ways")),
        }
    }

    /// Whether a head has begun that has not ended.
    pub(in crate::accept) fn within_head(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.fault.is_none() && (self.head.begun || !self.line.is_empty())
    }

    pub(in crate::accept) fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.fault.is_none() {
            match &mut self.phase {
                Phase::Length(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= step as u64;
                    bytes = bytes.get(step..).unwrap_or_default();
                    if *left == 0 {
                        self.phase = Phase::Head;
                    }
                }
                Phase::Chunk(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= step as u64;
                    bytes = bytes.get(step..).unwrap_or_default();
                    if *left == 0 {
                        self.phase = Phase::ChunkEnd;
                    }
                }
                Phase::Head | Phase::ChunkSize | Phase::ChunkEnd | Phase::Trailers => bytes = self.read_line(bytes),
            }
        }
    }

    /// Takes a line, or the start of one; answers what follows it.
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let (now, later) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.line.len() + now.len() > self.limit {
            self.fail("the request's headers are too large");
            return &[];
        }
        if end.is_some() && self.line.is_empty() {
            self.whole_line(now);
        } else {
            self.line.extend_from_slice(now);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                self.whole_line(&line);
            }
        }
        later
    }

    fn whole_line(&mut self, line: &[u8]) {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return self.fail("end lines with CRLF");
        };
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return self.fail("do not use CR or NUL within lines");
        }
        let read = match self.phase {
            Phase::Head => self.head_line(line),
            Phase::ChunkSize => self.chunk_size(line),
            Phase::ChunkEnd if line.is_empty() => {
                self.phase = Phase::ChunkSize;
                Ok(())
            }
            Phase::ChunkEnd => Err("a chunk is longer than its size"),
            Phase::Trailers => {
                if line.is_empty() {
                    self.phase = Phase::Head;
                }
                Ok(())
            }
            Phase::Length(_) | Phase::Chunk(_) => Ok(()),
        };
        if let Err(reason) = read {
            self.fail(reason);
        }
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if !self.head.begun {
            // RFC 9112, section 2.2: an empty line before the request line is ignored.
            self.head.begun = !line.is_empty();
            return if line.contains(&b'#') { Err("do not send a fragment in the target") } else { Ok(()) };
        }
        if line.is_empty() {
            return self.head_end();
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err("do not fold header lines");
        }
        let colon = memchr::memchr(b':', line).ok_or("a header line has no colon")?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_graphic()) {
            return Err("a header name is not valid");
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = digits(value, 10).ok_or("Content-Length must be one number")?;
            if self.head.length.replace(length).is_some() {
                return Err("send one Content-Length");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.head.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err("send Transfer-Encoding: chunked once, and no other coding");
            }
            self.head.chunked = true;
        }
        Ok(())
    }

    fn head_end(&mut self) -> Result<(), &'static str> {
        let head = std::mem::take(&mut self.head);
        self.phase = match (head.chunked, head.length) {
            (true, Some(_)) => return Err(BOTH_LENGTHS),
            (true, None) => Phase::ChunkSize,
            (false, Some(length)) if length > 0 => Phase::Length(length),
            (false, _) => Phase::Head,
        };
        self.heads += 1;
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        self.phase = match digits(size, 16).ok_or("a chunk's size must be a hexadecimal number")? {
            0 => Phase::Trailers,
            size => Phase::Chunk(size),
        };
        Ok(())
    }

    /// A fault in a body concerns the request that it belongs to.
    fn fail(&mut self, reason: &'static str) {
        let request = if matches!(self.phase, Phase::Head) { self.heads + 1 } else { self.heads };
        self.fault = Some((request, Fault(reason)));
        self.line = Vec::new();
    }
}

#[derive(Debug)]
enum Phase {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

fn digits(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    // `from_str_radix` takes a sign, which the grammar does not.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(bytes: &[u8], chunk: usize) -> Vec<Option<Fault>> {
        let mut observer = Observer::new(8192);
        bytes.chunks(chunk).for_each(|bytes| observer.received(bytes));
        (1..=3).map(|request| observer.fault(request)).collect()
    }

    #[test]
    fn pipelined_honest_requests_have_no_fault_however_they_are_split() {
        let bytes = b"\r\nGET /a HTTP/1.1\r\nHost: g\r\n\r\n\
            POST /b HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1F;ext=1\r\n0123456789\r\n\r\n0123456789abcdef0\r\n0\r\nTrailer: 1\r\n\r\n\
            POST /c HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\n\n\n\r\n\n";
        for chunk in 1..=bytes.len() {
            assert_eq!(faults(bytes, chunk), [None; 3], "chunks of {chunk}");
        }
    }

    #[test]
    fn what_hyper_hides_is_seen_and_concerns_that_request_and_later_ones() {
        let cases: [&[u8]; 12] = [
            b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: +5\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5, 5\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\nHost: g\n\n",
            b"GET / HTTP/1.1\r\nHost: g\nX: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: g\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : g\r\n\r\n",
            b"GET /#a HTTP/1.1\r\nHost: g\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: g\rX: 1\r\n\r\n",
        ];
        for case in cases {
            let mut bytes = b"GET / HTTP/1.1\r\nHost: g\r\n\r\n".to_vec();
            bytes.extend(case);
            for chunk in [1, 7, 1000] {
                let seen = faults(&bytes, chunk);
                assert!(
                    seen[0].is_none() && seen[1].is_some() && seen[2].is_some(),
                    "{:?}: {seen:?}",
                    String::from_utf8_lossy(case)
                );
            }
        }
    }

    #[test]
    fn a_fault_in_a_body_concerns_its_request() {
        for body in
            [&b"5\nabcde\r\n0\r\n\r\n"[..], b"x\r\n", b"3\r\nabcd\r\n", b"+3\r\nabc\r\n", b"ffffffffffffffff0\r\n"]
        {
            let mut bytes = b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            bytes.extend(body);
            assert!(faults(&bytes, 3)[0].is_some(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_request_that_only_hyper_sees_is_refused() {
        assert!(faults(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", 100)[1].is_some());
    }
}
