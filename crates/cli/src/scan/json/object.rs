//! JSON objects, written key by key.
//!
//! A line has some forty keys and a scan may have 200,000 lines. Keys are literals without a character to
//! escape, so they are copied as they stand: with serde_json, which looks at each, lines took twice the
//! time. Text is escaped by serde_json where there is anything to escape.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The version of the format: it changes when a key changes its meaning or goes away.
pub(crate) const SCHEMA: u32 = 1;

/// Something that can stand behind a key.
pub(crate) trait Value {
    /// Appends it.
    fn append(&self, out: &mut Vec<u8>);
}

/// Appends an object with these entries.
macro_rules! object {
    ($out:expr, { $first:literal: $value:expr $(, $key:literal: $more:expr)* $(,)? }) => {{
        let out: &mut Vec<u8> = $out;
        out.extend_from_slice(concat!("{\"", $first, "\":").as_bytes());
        Value::append(&$value, out);
        $(
            out.extend_from_slice(concat!(",\"", $key, "\":").as_bytes());
            Value::append(&$more, out);
        )*
        out.push(b'}');
    }};
}
pub(crate) use object;

/// An object whose keys are known when it is written.
pub(crate) struct Object<'o>(&'o mut Vec<u8>);

impl Object<'_> {
    /// Appends an object with the entries that `fill` puts.
    pub(crate) fn append(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        fill(&mut Object(out));
        out.push(b'}');
    }

    /// Appends an entry.
    pub(crate) fn put(&mut self, key: &'static str, value: impl Value) {
        self.put_in(key, "", value);
    }

    /// Appends an entry whose key ends with its unit.
    pub(crate) fn put_in(&mut self, key: &'static str, unit: &'static str, value: impl Value) {
        debug_assert!(is_plain(key) && is_plain(unit));
        self.0.extend_from_slice(if self.0.ends_with(b"{") { b"\"" } else { b",\"" });
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(unit.as_bytes());
        self.0.extend_from_slice(b"\":");
        value.append(self.0);
    }
}

impl Value for bool {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Value for u64 {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
    }
}

impl Value for u32 {
    fn append(&self, out: &mut Vec<u8>) {
        u64::from(*self).append(out);
    }
}

impl Value for u8 {
    fn append(&self, out: &mut Vec<u8>) {
        u64::from(*self).append(out);
    }
}

impl Value for &str {
    fn append(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        append_escaped(out, self);
        out.push(b'"');
    }
}

/// `null` where there is none.
impl<V: Value> Value for Option<V> {
    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.append(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

/// Milliseconds, with microseconds as decimals.
impl Value for Duration {
    fn append(&self, out: &mut Vec<u8>) {
        let micros = u64::try_from(self.as_micros()).unwrap_or(u64::MAX);
        (micros / 1000).append(out);
        let mut rest = micros % 1000;
        if rest > 0 {
            out.push(b'.');
        }
        for power in [100, 10, 1] {
            if rest > 0 {
                out.push(b'0' + (rest / power) as u8);
                rest %= power;
            }
        }
    }
}

/// `addr:port`, `[v6]:port`.
impl Value for SocketAddr {
    fn append(&self, out: &mut Vec<u8>) {
        let IpAddr::V4(ip) = self.ip() else { return Shown(self).append(out) };
        // As Display, which takes five times as long.
        let mut before = b'"';
        for octet in ip.octets() {
            out.push(before);
            octet.append(out);
            before = b'.';
        }
        out.push(b':');
        u32::from(self.port()).append(out);
        out.push(b'"');
    }
}

impl<V: Value> Value for Vec<V> {
    fn append(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (n, value) in self.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            value.append(out);
        }
        out.push(b']');
    }
}

/// What `Display` writes, as a string.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: fmt::Display> Value for Shown<T> {
    fn append(&self, out: &mut Vec<u8>) {
        struct Escaping<'o>(&'o mut Vec<u8>);

        impl fmt::Write for Escaping<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                append_escaped(self.0, text);
                Ok(())
            }
        }
        out.push(b'"');
        // The writer above never fails.
        let _ = write!(Escaping(out), "{}", self.0);
        out.push(b'"');
    }
}

fn append_escaped(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        return out.extend_from_slice(text.as_bytes());
    }
    let quoted = serde_json::Value::from(text).to_string();
    out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: impl Value) -> String {
        let mut out = Vec::new();
        value.append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_object_of_known_keys() {
        let mut out = Vec::new();
        object!(&mut out, { "a": 1u32, "b": "two", "c": None::<u32> });
        assert_eq!(out, br#"{"a":1,"b":"two","c":null}"#);
    }

    #[test]
    fn an_object_of_any_keys() {
        let mut out = Vec::new();
        Object::append(&mut out, |object| {
            object.put("a", true);
            object.put_in("b", "_ms", Duration::from_micros(1_500));
            object.put("c", None::<u32>);
        });
        assert_eq!(out, br#"{"a":true,"b_ms":1.5,"c":null}"#);
    }

    #[test]
    fn times_have_no_more_decimals_than_needed() {
        for (micros, text) in [(0, "0"), (1, "0.001"), (20, "0.02"), (100, "0.1"), (7_200_000_000, "7200000")]
        {
            assert_eq!(json(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn text_from_outside_is_escaped() {
        for text in ["", "nginx", "a\"b\\c", "tab\there", "\u{1}\u{7f}", "größe"] {
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(json(text), expected);
            assert_eq!(json(Shown(text)), expected);
        }
    }

    #[test]
    fn addresses_are_as_display_shows_them() {
        for text in ["127.0.0.1:80", "255.0.10.1:65535", "[fe80::1]:1", "[::]:0"] {
            assert_eq!(json(text.parse::<SocketAddr>().unwrap()), format!("\"{text}\""));
        }
    }
}
