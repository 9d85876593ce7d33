//! The part of Markdown that docs/ uses, as plain text.

use crate::prose::Prose;
use crate::terminal::Terminal;

/// Renders headings, paragraphs, lists, indented blocks and tables.
pub(super) fn plain(text: &str, terminal: Terminal) -> String {
    let mut prose = Prose::new(terminal);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix('#') {
            prose.heading(inline(heading.trim_start_matches('#').trim()));
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            table(&mut prose, &rows);
        } else if line.starts_with("    ") {
            prose.verbatim(line);
        } else if line.trim().is_empty() {
            if lines.peek().is_some_and(|next| !next.starts_with('#')) {
                prose.gap();
            }
        } else {
            let (item, mut whole) = match list_item(line) {
                Some(item) => (true, item.to_owned()),
                None => (false, line.to_owned()),
            };
            let goes_on = |line: &&str| {
                !line.trim().is_empty()
                    && list_item(line).is_none()
                    && !line.starts_with(['#', '|'])
                    && (item || !line.starts_with("    "))
            };
            while let Some(more) = lines.next_if(goes_on) {
                whole.push(' ');
                whole.push_str(more.trim());
            }
            match item {
                true => prose.item(inline(&whole)),
                false => prose.say(inline(&whole)),
            }
        }
    }
    prose.to_string()
}

fn list_item(line: &str) -> Option<&str> {
    let numbered = || {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.strip_prefix(". ").filter(|_| rest.len() < line.len())
    };
    line.strip_prefix("- ").or_else(numbered)
}

fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| inline(cell.trim())).collect()
}

/// The first column, and the others after it; the header and the line below it say what is seen anyway.
fn table(prose: &mut Prose, rows: &[Vec<String>]) {
    let body = rows.iter().skip(2);
    let pairs: Vec<_> = body
        .filter_map(|row| row.split_first())
        .map(|(name, rest)| (name.clone(), rest.join("; ")))
        .collect();
    prose.pairs(&pairs);
}

/// Without the marks for code, emphasis and links.
fn inline(text: &str) -> String {
    let mut plain = text.replace(['`'], "").replace("**", "");
    while let Some((start, end, close)) = link(&plain) {
        let words = plain[start + 1..end].to_owned();
        plain.replace_range(start..=close, &words);
    }
    // Emphasis is a star before a word and one after it.
    plain.split(' ').map(|word| word.trim_matches('*')).collect::<Vec<_>>().join(" ")
}

/// Where `[words](address)` begins, its words end, and it ends.
fn link(text: &str) -> Option<(usize, usize, usize)> {
    let end = text.find("](")?;
    let start = text[..end].rfind('[')?;
    let close = end + text[end..].find(')')?;
    Some((start, end, close))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_words_stay() {
        assert_eq!(
            inline("**dead**: `tcp(7)`, see [the page](a.md) and [more](b.md)."),
            "dead: tcp(7), see the page and more."
        );
        assert_eq!(inline("the peer's *kernel* answers"), "the peer's kernel answers");
        assert_eq!(inline("a [bracket] only"), "a [bracket] only");
    }

    #[test]
    fn blocks_keep_their_shape() {
        let terminal = Terminal { is_terminal: false, colour: false, width: Some(60) };
        let text = "# Title\n\nOne\nparagraph.\n\n- an item\n  of two lines\n- another\n\n    code  as it is\n\n| a | b |\n|---|---|\n| `x` | what x is |\n";
        let expected = "Title\n\nOne paragraph.\n\n  - an item of two lines\n  - another\n\n    code  as it is\n\n  x  what x is\n";
        assert_eq!(plain(text, terminal), expected);
    }
}
