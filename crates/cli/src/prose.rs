//! Text for people: wrapped, with headings, aligned.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

use deadpeer::{Bound, Detection, Span};

use crate::terminal::Terminal;

/// A text in the making.
#[derive(Debug)]
pub(crate) struct Prose {
    text: String,
    width: usize,
    colour: bool,
}

impl Prose {
    /// As wide as the terminal, within what reads well; 80 columns elsewhere.
    pub(crate) fn new(terminal: Terminal) -> Self {
        let width = terminal.width.map_or(80, usize::from).clamp(40, 100);
        Self { text: String::new(), width, colour: terminal.colour }
    }

    /// A heading after an empty line.
    pub(crate) fn heading(&mut self, heading: impl Display) {
        self.gap();
        let heading = match self.colour {
            true => Cow::Owned(format!("\x1b[1m{heading}\x1b[0m")),
            false => Cow::Owned(heading.to_string()),
        };
        for line in textwrap::wrap(&glued(&heading), self.width) {
            self.text.push_str(&line.replace(NO_BREAK, " "));
            self.text.push('\n');
        }
    }

    /// An empty line, unless it begins the text.
    pub(crate) fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// A paragraph.
    pub(crate) fn say(&mut self, text: impl Display) {
        self.wrapped(text, "", "");
    }

    /// A paragraph set in, with a dash.
    pub(crate) fn item(&mut self, text: impl Display) {
        self.wrapped(text, "  - ", "    ");
    }

    /// A line as it is.
    pub(crate) fn verbatim(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Names and what they stand for, in two columns.
    pub(crate) fn pairs<N: Display, V: Display>(&mut self, pairs: &[(N, V)]) {
        let names: Vec<_> = pairs.iter().map(|(name, _)| name.to_string()).collect();
        let column = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, (_, value)) in names.iter().zip(pairs) {
            self.wrapped(value, &format!("  {name:column$}  "), &" ".repeat(column + 4));
        }
    }

    fn wrapped(&mut self, text: impl Display, first: &str, others: &str) {
        let options = textwrap::Options::new(self.width).initial_indent(first).subsequent_indent(others);
        // Without breaking at hyphens: options and file names stay whole.
        let options = options
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .break_words(false);
        let filled = textwrap::fill(&glued(&text.to_string()), options);
        // Writing to a String never fails.
        let _ = writeln!(self.text, "{}", filled.replace(NO_BREAK, " "));
    }
}

impl Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const NO_BREAK: char = '\u{a0}';

/// No line ends between a number and its unit.
fn glued(text: &str) -> String {
    let mut glued = String::with_capacity(text.len());
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        glued.push_str(word);
        let number = word.trim_start_matches('(').chars().all(|c| c.is_ascii_digit() || c == '.');
        let unit = |next: &str| next.starts_with(|c: char| c.is_ascii_alphabetic()) && next.len() <= 7;
        if let Some(next) = words.peek() {
            glued.push(if number && !word.is_empty() && unit(next) { NO_BREAK } else { ' ' });
        }
    }
    glued
}

/// "26 s to 29 s".
pub(crate) fn range(bound: Bound) -> String {
    match bound {
        Bound::Within { least, most } => {
            let (least, most) = (Span(least).to_string(), Span(most).rounded_up().to_string());
            if least == most { least } else { format!("{least} to {most}") }
        }
        Bound::Never => "never".to_owned(),
        Bound::Unknown(why) => format!("unknown: {why}"),
    }
}

/// The states that a peer can fall silent in, and when that is noticed.
pub(crate) fn states(detection: &Detection) -> [(&'static str, String); 5] {
    [
        ("idle", range(detection.idle)),
        ("data in flight", range(detection.in_flight)),
        ("window shut", range(detection.shut_window)),
        ("connecting", range(detection.connecting)),
        ("application hung", format!("{} (its kernel answers)", range(detection.hung_application))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_units() {
        let mut prose = Prose { text: String::new(), width: 40, colour: false };
        prose.say("This line would otherwise end after 19 min and 37 s.");
        assert_eq!(prose.text, "This line would otherwise end after\n19 min and 37 s.\n");
    }
}
