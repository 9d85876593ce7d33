//! `deadpeer help`: topics, from the very texts of docs/, and commands.

mod markdown;

use std::error::Error;
use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::Args;
use crate::exit::{Ended, unless_closed};
use crate::terminal::Terminal;

/// Name and text of each topic.
const TOPICS: [(&str, &str); 7] = [
    ("keepalive", include_str!("../../../../docs/keepalive.md")),
    ("verdicts", include_str!("../../../../docs/verdicts.md")),
    ("certainty", include_str!("../../../../docs/certainty.md")),
    ("probing", include_str!("../../../../docs/asking.md")),
    ("privileges", include_str!("../../../../docs/privileges.md")),
    ("sessions", include_str!("../../../../docs/sessions.md")),
    ("json", include_str!("../../../../docs/json.md")),
];

/// `deadpeer help`
#[derive(Debug, clap::Args)]
pub(crate) struct Help {
    /// keepalive, verdicts, certainty, probing, privileges, sessions, json, or a command.
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}

/// Runs `deadpeer help`.
pub(crate) fn run(args: &Help) -> Result<Ended, Box<dyn Error>> {
    let terminal = Terminal::of_stdout();
    let mut commands = Args::command();
    commands.build(); // so that a command's help shows its full name
    let text = match &args.topic {
        None => styled(&mut commands, terminal),
        Some(name) => match TOPICS.iter().find(|(topic, _)| topic == name) {
            Some((_, text)) => markdown::plain(text, terminal),
            None => match commands.find_subcommand_mut(name) {
                Some(command) => styled(command, terminal),
                None => return Err(no_such(name).into()),
            },
        },
    };
    unless_closed(io::stdout().lock().write_all(text.as_bytes()))?;
    Ok(Ended::Well)
}

fn styled(command: &mut clap::Command, terminal: Terminal) -> String {
    let help = command.render_long_help();
    if terminal.colour { help.ansi().to_string() } else { help.to_string() }
}

fn no_such(name: &str) -> String {
    let topics: Vec<_> = TOPICS.iter().map(|(topic, _)| *topic).collect();
    let commands = Args::command();
    let commands: Vec<_> = commands.get_subcommands().map(clap::Command::get_name).collect();
    format!("there is no topic `{name}`; topics: {}; commands: {}", topics.join(", "), commands.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_commands_do_not_share_names() {
        let commands = Args::command();
        for (topic, text) in TOPICS {
            assert!(commands.find_subcommand(topic).is_none(), "{topic}");
            assert!(text.starts_with("# "), "{topic}");
        }
    }
}
