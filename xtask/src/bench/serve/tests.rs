//! The generator against servers of both kinds.

use std::time::Duration;
