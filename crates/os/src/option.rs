//! Socket options by number, where no library knows them.

/// An option: its level, its number, and its name for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub(crate) level: i32,
    pub(crate) number: i32,
    name: &'static str,
}

impl Name {
    pub(crate) const fn new(level: i32, number: i32, name: &'static str) -> Self {
        Self { level, number, name }
    }

    /// The system's name, `TCP_KEEPIDLE`.
    pub const fn as_str(self) -> &'static str {
        self.name
    }
}

macro_rules! names {
    ($($name:ident = $level:expr, $number:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`")]
            pub const $name: Name = Name::new($level, $number, stringify!($name));
        )*
    };
}
pub(crate) use names;
