//! Figures as text or as Markdown.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::measure::Samples;

/// How to print.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Style {
    /// Print the tables in Markdown
    #[arg(long)]
    pub(super) markdown: bool,
}

impl Style {
    /// Prints a title above a table.
    pub(super) fn print_title(self, title: impl fmt::Display) {
        println!("\n{}{title}\n", if self.markdown { "### " } else { "" });
    }

    /// Prints a table; all but its first column are numbers.
    pub(super) fn print_table(self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = Table::new();
        table.load_style(if self.markdown {
            presets::ASCII_MARKDOWN
        } else {
            presets::ASCII_BORDERS_ONLY_CONDENSED
        });
        table.set_header(header.iter().copied()).add_rows(rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{table}");
    }

    /// Prints some lines as a list.
    pub(super) fn print_list(self, lines: impl IntoIterator<Item = impl fmt::Display>) {
        for line in lines {
            println!("{}{line}", if self.markdown { "- " } else { "" });
        }
    }
}

/// A number with the digits that count.
pub(super) fn number(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A time with the digits that count.
pub(super) fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds @ 1.0.. => format!("{} s", number(seconds)),
        seconds => format!("{} ms", number(seconds * 1e3)),
    }
}

/// The median, and between what the others lay.
pub(super) fn spread(samples: &Samples) -> String {
    match samples.wall() {
        None => "–".into(),
        Some([only, ..]) if samples.len() == 1 => format!("{} (once)", time(only)),
        Some([median, shortest, longest]) => {
            format!("{} ({} – {})", time(median), time(shortest), time(longest))
        }
    }
}

/// Bytes, in MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How many times as long as `other` one took, by their medians.
pub(super) fn ratio(samples: &Samples, other: &Samples) -> Option<f64> {
    Some(samples.wall()?[0].as_secs_f64() / other.wall()?[0].as_secs_f64())
}

/// A number with its thousands marked.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_count() {
        assert_eq!(
            [0.0, 411.6, 27.04, 1.234, 0.5, 0.0123].map(number),
            ["0", "412", "27.0", "1.23", "0.50", "0.012"]
        );
        assert_eq!(
            [1500, 999, 12].map(|ms| time(Duration::from_millis(ms))),
            ["1.50 s", "999 ms", "12.0 ms"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
