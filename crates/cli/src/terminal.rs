//! What stdout is, and colours.

use std::env;
use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};

/// Where the output goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Whether a person reads it.
    pub is_terminal: bool,
    /// Whether colours are wanted (<https://no-color.org>).
    pub colour: bool,
    /// Its width in columns; none for a file or pipe.
    pub width: Option<u16>,
}

impl Terminal {
    /// Looks at stdout.
    pub(crate) fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        let size = is_terminal.then(|| terminal_size::terminal_size_of(&stdout)).flatten();
        Self {
            is_terminal,
            colour: is_terminal && !plain,
            width: size.map(|(terminal_size::Width(columns), _)| columns).filter(|columns| *columns > 0),
        }
    }

    /// A table without lines, as wide and as colourful as the output takes it.
    pub(crate) fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match self.colour {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        match self.width {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table
    }
}

/// Writes a table without blanks at the ends of its lines.
pub(crate) fn write_table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}
