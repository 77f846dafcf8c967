//! The live view: the same frame again and again, until q.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{SignalKind, signal};

use super::figures::Figures;
use super::frame::{self, Head, Row, Size, Tone};
use super::{Node, Reading, Sort, shown};
use crate::clock::Clock;

/// How the view begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) interval: Duration,
    pub(super) sort: Sort,
    /// Else with bold and faint text only.
    pub(super) colour: bool,
}

/// Watches until the operator quits, or SIGTERM or SIGHUP comes. The terminal is as before then, also after an error.
pub(super) fn run(node: Arc<Node>, clock: &Clock, first: Reading, options: Options) -> io::Result<()> {
    let readings = readings(&node, clock, options.interval)?;
    let over = ended_by_signal()?;
    end_with_terminal()?;
    let mut view = Screen {
        node: node.to_string(),
        options,
        paused: false,
        read: first.at,
        before: Some(first),
        figures: None,
        failed: None,
    };
    let ended = match ratatui::try_init() {
        Ok(mut terminal) => view.watch(&mut terminal, &readings, clock, &over),
        Err(error) => Err(error),
    };
    ratatui::try_restore()?;
    ended
}

/// Read on a thread of its own: a node that hangs must not take the keyboard with it. It ends with the process.
fn readings(
    node: &Arc<Node>,
    clock: &Clock,
    interval: Duration,
) -> io::Result<mpsc::Receiver<Result<Reading, String>>> {
    let (sender, readings) = mpsc::sync_channel(1);
    let (node, clock) = (Arc::clone(node), clock.clone());
    std::thread::Builder::new().name("readings".into()).spawn(move || {
        loop {
            std::thread::sleep(interval);
            let reading = Reading::of(&node, &clock).map_err(|error| error.to_string());
            if sender.send(reading).is_err() {
                return;
            }
        }
    })?;
    Ok(readings)
}

/// Becomes true when the process is asked to end: by default that would leave the terminal raw.
fn ended_by_signal() -> io::Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut hup) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(over)
}

/// Ends the process when its terminal is gone: whoever waits for keys then would read its end for ever.
fn end_with_terminal() -> io::Result<()> {
    let gone = || {
        let stdin = io::stdin();
        // Nothing is asked for: a hang-up is told all the same.
        let mut watched = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
        loop {
            // A signal may interrupt it.
            if poll(&mut watched, PollTimeout::NONE) != Err(Errno::EINTR) {
                return;
            }
        }
    };
    let watch = move || {
        gone();
        #[expect(clippy::exit, reason = "the thread that draws waits for keys of a terminal that is gone")]
        std::process::exit(GONE);
    };
    std::thread::Builder::new().name("terminal".into()).spawn(watch).map(drop)
}

struct Screen {
    node: String,
    options: Options,
    paused: bool,
    /// When the last good reading came.
    read: Instant,
    /// What the next reading is compared with; `None` after the node was away: what is between would be no moment.
    before: Option<Reading>,
    figures: Option<Figures>,
    /// Why the last reading did not come.
    failed: Option<String>,
}

impl Screen {
    fn watch(
        &mut self,
        terminal: &mut DefaultTerminal,
        readings: &mpsc::Receiver<Result<Reading, String>>,
        clock: &Clock,
        over: &AtomicBool,
    ) -> io::Result<()> {
        let mut drawn = None;
        let mut is_new = true;
        while !over.load(Ordering::Relaxed) {
            // Nothing is written while nothing changes: the age of a reading is in whole seconds.
            let late = self.late(clock.now());
            if is_new || drawn != Some(late) {
                terminal.draw(|frame| self.draw(frame, late))?;
                drawn = Some(late);
            }
            is_new = false;
            if event::poll(TICK)? {
                let event = event::read()?;
                if self.is_over(&event) {
                    return Ok(());
                }
                // A resized terminal is drawn anew, too.
                is_new = true;
            }
            if let Ok(reading) = readings.try_recv() {
                self.take(reading, clock);
                is_new = true;
            }
        }
        Ok(())
    }

    fn take(&mut self, reading: Result<Reading, String>, clock: &Clock) {
        let reading = match reading {
            Ok(reading) => reading,
            Err(why) => {
                (self.failed, self.before) = (Some(why), None);
                return;
            }
        };
        if !self.paused {
            match &self.before {
                Some(before) => self.figures = Some(reading.since(before, clock)),
                None => self.figures = None,
            }
        }
        (self.read, self.before, self.failed) = (reading.at, Some(reading), None);
    }

    /// For how many seconds there was no reading, if that is longer than it should be.
    fn late(&self, now: Instant) -> Option<u64> {
        let age = now.saturating_duration_since(self.read);
        let is_late = self.failed.is_some() || age > self.options.interval + PATIENCE;
        is_late.then_some(age.as_secs())
    }

    /// Does what a key says; whether it is to end.
    fn is_over(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return false };
        if key.kind == KeyEventKind::Release {
            return false;
        }
        match key.code {
            // No signal comes while keys are read raw.
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('r') => self.options.sort = Sort::Requests,
            KeyCode::Char('e') => self.options.sort = Sort::Refused,
            KeyCode::Char('l') => self.options.sort = Sort::P99,
            KeyCode::Char('n') => self.options.sort = Sort::Name,
            _ => {}
        }
        false
    }

    fn draw(&self, frame: &mut Frame<'_>, late: Option<u64>) {
        let area = frame.area();
        let size = Size { columns: area.width.into(), rows: usize::from(area.height).saturating_sub(1) };
        let mut rows = self.rows(size, late);
        rows.resize(size.rows, Row::new(Tone::Plain, "", size));
        rows.push(Row::new(Tone::Faint, KEYS, size));
        let lines = rows.into_iter().map(|row| Line::styled(row.text, style(row.tone, self.options.colour)));
        frame.render_widget(Paragraph::new(Text::from_iter(lines)), area);
    }

    fn rows(&self, size: Size, late: Option<u64>) -> Vec<Row> {
        let note = match (self.paused, late) {
            (true, _) => "PAUSED".to_owned(),
            (false, Some(seconds)) => format!("as of {seconds} s ago"),
            (false, None) => format!("every {}", shown(self.options.interval)),
        };
        let head = Head { node: self.node.clone(), note, sort: self.options.sort };
        let mut rows = match &self.figures {
            Some(figures) => frame::rows(&head, figures, size),
            None => vec![
                Row::new(Tone::Heading, &format!("popgate top  {}  {}", head.node, head.note), size),
                Row::new(Tone::Faint, "waiting for a second reading", size),
            ],
        };
        if let Some(seconds) = late {
            let why = self.failed.as_deref().unwrap_or("it takes its time");
            let away = Row::broken(Tone::Alarm, "ALARM", &format!("no answer for {seconds} s: {why}"), size);
            rows.splice(1..1, away);
            rows.truncate(size.rows);
        }
        rows
    }
}

fn style(tone: Tone, colour: bool) -> Style {
    let coloured = |style: Style, shade| if colour { style.fg(shade) } else { style };
    match tone {
        Tone::Plain => Style::new(),
        Tone::Heading => Style::new().add_modifier(Modifier::BOLD),
        Tone::Alarm => coloured(Style::new().add_modifier(Modifier::BOLD), Color::Red),
        Tone::Notice => coloured(Style::new(), Color::Yellow),
        Tone::Faint => Style::new().add_modifier(Modifier::DIM),
    }
}

const KEYS: &str = "q quit  p pause  sort by: r requests  e refusals  l latency  n name";
/// How soon a key or a reading is seen.
/// As a shell tells of a hang-up.
const GONE: i32 = 129;
const TICK: Duration = Duration::from_millis(100);
/// How long a reading may take before that is said.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn view(clock: &Clock) -> Screen {
        let options = Options { interval: Duration::from_secs(2), sort: Sort::Requests, colour: true };
        let first = reading(clock, 1);
        Screen {
            node: "https://gateway-1:9443".into(),
            options,
            paused: false,
            read: first.at,
            before: Some(first),
            figures: None,
            failed: None,
        }
    }

    fn reading(clock: &Clock, count: u32) -> Reading {
        let text = format!("popgate_requests_total{{code=\"ok\",operation=\"a\"}} {count}\n");
        Reading { scrape: super::super::scrape::Scrape::parse(&text).unwrap(), at: clock.now() }
    }

    fn text(view: &Screen, late: Option<u64>) -> String {
        let rows = view.rows(Size { columns: 80, rows: 24 }, late);
        rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_node_that_is_away_is_said_and_what_was_before_is_not_counted_when_it_is_back() {
        let clock = Clock::system("UTC").unwrap();
        let mut view = view(&clock);
        assert!(text(&view, None).contains("waiting for a second reading"));
        view.take(Ok(reading(&clock, 5)), &clock);
        assert!(text(&view, view.late(clock.now())).contains("every 2.0 s"));
        view.take(Err("cannot connect".into()), &clock);
        let late = view.late(clock.now());
        assert!(late.is_some());
        let shown = text(&view, late);
        assert!(
            shown.contains("ALARM        no answer for 0 s: cannot connect") && shown.contains("\nOPERATION"),
            "{shown}"
        );
        view.take(Ok(reading(&clock, 900)), &clock);
        let shown = text(&view, view.late(clock.now()));
        assert!(shown.contains("waiting for a second reading") && !shown.contains("ALARM"), "{shown}");
        view.take(Ok(reading(&clock, 900)), &clock);
        assert!(text(&view, None).contains("no requests"));
    }

    #[test]
    fn a_reading_that_takes_long_is_said_before_it_fails() {
        let clock = Clock::system("UTC").unwrap();
        let view = view(&clock);
        assert_eq!(view.late(view.read + Duration::from_secs(3)), None);
        assert_eq!(view.late(view.read + Duration::from_secs(9)), Some(9));
    }

    #[test]
    fn no_color_means_none() {
        for tone in [Tone::Plain, Tone::Heading, Tone::Alarm, Tone::Notice, Tone::Faint] {
            assert_eq!((style(tone, false).fg, style(tone, false).bg), (None, None), "{tone:?}");
        }
        assert_eq!(style(Tone::Alarm, true).fg, Some(Color::Red));
    }

    #[test]
    fn keys_sort_pause_and_quit() {
        let mut view = view(&Clock::system("UTC").unwrap());
        let key = |code: KeyCode| Event::Key(code.into());
        for (code, sort) in [('e', Sort::Refused), ('l', Sort::P99), ('n', Sort::Name), ('r', Sort::Requests)] {
            assert!(!view.is_over(&key(KeyCode::Char(code))));
            assert_eq!(view.options.sort, sort);
        }
        assert!(!view.is_over(&key(KeyCode::Char('p'))) && view.paused && !view.is_over(&key(KeyCode::Char('c'))));
        let interrupt = event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(view.is_over(&Event::Key(interrupt)) && view.is_over(&key(KeyCode::Char('q'))));
    }
}
