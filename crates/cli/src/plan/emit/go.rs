//! Go, with its standard library.

use deadpeer::System;

use super::{Wanted, Written, number};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let windows = wanted.platform.system == System::Windows;
    let handle = if windows { "syscall.Handle(fd)" } else { "int(fd)" };
    if wanted.platform.fixed_probes.is_some() {
        written.cannot("SIO_KEEPALIVE_VALS", "Go's net package sets it: conn.SetKeepAlivePeriod");
    }
    written.line(
        "package deadpeer

import (
\t\"net\"
\t\"syscall\"
)

// Apply must come after Dial or Accept, which set Go's own keepalive of 15 s.
func Apply(conn *net.TCPConn) error {
\traw, err := conn.SyscallConn()
\tif err != nil {
\t\treturn err
\t}
\toptions := []struct{ level, name, value int }{",
    );
    let mut rows = Vec::new();
    for option in &wanted.options {
        let unit = if option.unit.is_empty() { String::new() } else { format!(", {}", option.unit) };
        match number(wanted.platform.system, option.name) {
            Some(number) => rows.push((
                format!("{{syscall.IPPROTO_TCP, {number}, {}}},", option.value),
                format!("// {}{unit}", option.name),
            )),
            None if option.name == "SO_KEEPALIVE" => rows.push((
                format!("{{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, {}}},", option.value),
                String::new(),
            )),
            None => {}
        }
    }
    // As gofmt has it.
    let column =
        rows.iter().filter(|(_, name)| !name.is_empty()).map(|(row, _)| row.len()).max().unwrap_or(0);
    for (row, name) in rows {
        written.line(format!("\t\t{row:column$} {name}").trim_end());
    }
    written.line(format!(
        "\t}}
\tvar failed error
\terr = raw.Control(func(fd uintptr) {{
\t\tfor _, option := range options {{
\t\t\tif failed = syscall.SetsockoptInt({handle}, option.level, option.name, option.value); failed != nil {{
\t\t\t\treturn
\t\t\t}}
\t\t}}
\t}})
\tif err != nil {{
\t\treturn err
\t}}
\treturn failed
}}"
    ));
    written
}
