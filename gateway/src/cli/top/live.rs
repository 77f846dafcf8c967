//! The live view: the same frame again and again, until q.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};

use super::figures::Figures;
use super::frame::{self, Head};
use super::{Node, Reading, Sort, shown};
use crate::clock::Clock;

/// Watches until the operator quits. The terminal is as before then, also after an error.
pub(super) fn run(node: Arc<Node>, clock: &Clock, first: Reading, interval: Duration, sort: Sort) -> io::Result<()> {
    let (sender, readings) = mpsc::sync_channel(1);
    let (asked, asking) = (Arc::clone(&node), clock.clone());
    // On a thread of its own: a node that hangs must not take the keyboard with it. It ends with the process.
    std::thread::Builder::new().name("readings".into()).spawn(move || {
        loop {
            std::thread::sleep(interval);
            let reading = Reading::of(&asked, &asking).map_err(|error| error.to_string());
            if sender.send(reading).is_err() {
                return;
            }
        }
    })?;
    let mut view =
        View { node: node.to_string(), interval, sort, paused: false, before: first, figures: None, failed: None };
    let mut terminal = ratatui::try_init()?;
    let ended = view.watch(&mut terminal, &readings, clock);
    ratatui::try_restore()?;
    ended
}

struct View {
    node: String,
    interval: Duration,
    sort: Sort,
    paused: bool,
    before: Reading,
    figures: Option<Figures>,
    /// Why the last reading did not come.
    failed: Option<String>,
}

impl View {
    fn watch(
        &mut self,
        terminal: &mut DefaultTerminal,
        readings: &mpsc::Receiver<Result<Reading, String>>,
        clock: &Clock,
    ) -> io::Result<()> {
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            // Also a resized terminal is drawn anew.
            if event::poll(TICK)? && self.is_over(&event::read()?) {
                return Ok(());
            }
            if let Ok(reading) = readings.try_recv() {
                self.take(reading, clock);
            }
        }
    }

    fn take(&mut self, reading: Result<Reading, String>, clock: &Clock) {
        match reading {
            Ok(reading) => {
                if !self.paused {
                    self.figures = Some(reading.since(&self.before, clock));
                }
                self.before = reading;
                self.failed = None;
            }
            Err(why) => self.failed = Some(why),
        }
    }

    /// Does what a key says; whether it is to end.
    fn is_over(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return false };
        if key.kind == KeyEventKind::Release {
            return false;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            // No signal comes while keys are read raw.
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('r') => self.sort = Sort::Requests,
            KeyCode::Char('e') => self.sort = Sort::Refused,
            KeyCode::Char('l') => self.sort = Sort::P99,
            KeyCode::Char('n') => self.sort = Sort::Name,
            _ => {}
        }
        false
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = usize::from(frame.area().height);
        let note = if self.paused { "PAUSED".to_owned() } else { format!("every {}", shown(self.interval)) };
        let head = Head { node: self.node.clone(), note, sort: self.sort };
        let mut lines = match &self.figures {
            Some(figures) => frame::lines(&head, figures, rows.saturating_sub(1)),
            None => {
                vec![format!("popgate top  {}  {}", head.node, head.note), "waiting for a second reading".to_owned()]
            }
        };
        lines.resize(rows.saturating_sub(1), String::new());
        lines.push(match &self.failed {
            Some(why) => format!("ALARM        {why}"),
            None => KEYS.to_owned(),
        });
        frame.render_widget(Paragraph::new(Text::from_iter(lines.into_iter().map(styled))), frame.area());
    }
}

fn styled(line: String) -> Line<'static> {
    let style = if line.starts_with("ALARM") {
        Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
    } else if line.starts_with("popgate top") || line.starts_with("OPERATION") {
        Style::new().add_modifier(Modifier::BOLD)
    } else if line == KEYS {
        Style::new().add_modifier(Modifier::DIM)
    } else {
        Style::new()
    };
    Line::styled(line, style)
}

const KEYS: &str = "q quit  p pause  sort: r requests  e refused  l latency  n name";
/// How soon a key or a reading is seen.
const TICK: Duration = Duration::from_millis(100);
