//! Bounds that remote peers can reach, as data for the table of limits.

use std::{fmt, time::Duration};

/// A count, size, time or rate that a remote peer can reach, and that this software therefore bounds. Declare limits
/// with the macro [`limits`](crate::limits), so that constant and table cannot differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Path of the module that applies the limit.
    pub module: &'static str,
    /// Name of the constant.
    pub name: &'static str,
    /// The limit.
    pub value: LimitValue,
    /// The peer that can reach the limit.
    pub peer: LimitPeer,
    /// What is bounded and why, as text for people.
    pub reason: &'static str,
}

/// The value of a limit, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitValue {
    /// A number of things.
    Count(u64),
    /// A size in bytes.
    Bytes(u64),
    /// A rate in bytes per second.
    Rate(u64),
    /// A duration in milliseconds.
    Milliseconds(u64),
    /// A duration in seconds.
    Seconds(u64),
    /// A duration.
    Time(Duration),
    /// How often something may happen.
    Events(Rate),
}

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many times it may happen at once.
    pub burst: u32,
    /// How long it takes until it may happen once more.
    pub interval: Duration,
}

/// The kind of peer that can reach a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitPeer {
    /// A client of the HTTP interface.
    Client,
    /// A worker, seen from its orchestrator.
    Worker,
    /// An orchestrator, seen from its worker.
    Orchestrator,
    /// A prover process, seen from its worker.
    Prover,
    /// A program that is executed or proven, and its input.
    Program,
    /// A service, seen from its client.
    Service,
    /// The other side of a connection between an orchestrator and a worker.
    EitherSide,
    /// The archive of a service: a folder or an object store.
    Archive,
}

/// Returns a number of bytes with the largest binary unit that fits without a remainder.
fn bytes_text(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// Returns a duration with the largest unit that fits without a remainder.
fn time_text(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.subsec_nanos() != 0 || seconds == 0 {
        return format!("{} ms", time.as_millis());
    }
    let units = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "min")];
    match units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} s"),
    }
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Bytes(bytes) => f.write_str(&bytes_text(*bytes)),
            Self::Rate(bytes) => write!(f, "{bytes} bytes/s"),
            Self::Milliseconds(time) => f.write_str(&time_text(Duration::from_millis(*time))),
            Self::Seconds(time) => f.write_str(&time_text(Duration::from_secs(*time))),
            Self::Time(time) => f.write_str(&time_text(*time)),
            Self::Events(Rate { burst, interval }) => {
                write!(f, "{burst} at once, then one every {}", time_text(*interval))
            }
        }
    }
}

impl fmt::Display for LimitPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Orchestrator => "orchestrator",
            Self::Prover => "prover process",
            Self::Program => "program",
            Self::Service => "service",
            Self::EitherSide => "orchestrator or worker",
            Self::Archive => "archive",
        })
    }
}

/// Declares constants that are limits, and the list `LIMITS` of them. A module can use it once. The documentation
/// comment of a constant says what is bounded and why. After the value come the unit, a variant of [`LimitValue`], and
/// the peer, a variant of [`LimitPeer`]. The type is `usize`, `u32`, `u64`, `Duration` for the unit `Time`, or [`Rate`]
/// for the unit `Events`.
///
/// With `in Self;` in front, it declares associated constants inside an `impl` block.
///
/// ```
/// sp1d_model::limits! {
///     /// Maximum number of open connections.
///     const MAX_CONNECTIONS: usize = 512; Count by Client;
/// }
/// assert_eq!((LIMITS[0].name, LIMITS[0].value.to_string().as_str()), ("MAX_CONNECTIONS", "512"));
/// assert_eq!(MAX_CONNECTIONS, 512);
/// ```
#[macro_export]
macro_rules! limits {
    (@value Time Duration $limit:expr) => {
        $crate::LimitValue::Time($limit)
    };
    (@value Events Rate $limit:expr) => {
        $crate::LimitValue::Events($limit)
    };
    (@value $unit:ident usize $limit:expr) => {
        $crate::LimitValue::$unit($limit as u64)
    };
    (@value $unit:ident u32 $limit:expr) => {
        $crate::LimitValue::$unit($limit as u64)
    };
    (@value $unit:ident u64 $limit:expr) => {
        $crate::LimitValue::$unit($limit)
    };
    (@limit $name:ident $number:ident $limit:expr, $unit:ident $peer:ident $($reason:literal)+) => {
        $crate::Limit {
            module: module_path!(),
            name: stringify!($name),
            value: $crate::limits!(@value $unit $number $limit),
            peer: $crate::LimitPeer::$peer,
            reason: concat!($($reason),+),
        }
    };
    (in Self; $(
        $(#[doc = $reason:literal])+
        $visibility:vis const $name:ident: $number:ident = $value:expr; $unit:ident by $peer:ident;
    )+) => {
        $(
            $(#[doc = $reason])+
            $visibility const $name: $number = $value;
        )+
        /// All limits above, for the table of limits.
        pub(crate) const LIMITS: &[$crate::Limit] =
            &[$($crate::limits!(@limit $name $number Self::$name, $unit $peer $($reason)+)),+];
    };
    ($(
        $(#[doc = $reason:literal])+
        $visibility:vis const $name:ident: $number:ident = $value:expr; $unit:ident by $peer:ident;
    )+) => {
        $(
            $(#[doc = $reason])+
            $visibility const $name: $number = $value;
        )+
        /// All limits above, for the table of limits.
        pub(crate) const LIMITS: &[$crate::Limit] =
            &[$($crate::limits!(@limit $name $number $name, $unit $peer $($reason)+)),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: LimitValue, expected: &str) {
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn values_are_shown_with_the_largest_unit_that_fits() {
        check(LimitValue::Count(16), "16");
        check(LimitValue::Bytes(16 << 10), "16 KiB");
        check(LimitValue::Bytes(128 << 20), "128 MiB");
        check(LimitValue::Bytes(4 << 30), "4 GiB");
        check(LimitValue::Bytes(200), "200 bytes");
        check(LimitValue::Bytes((1 << 20) + 1), "1048577 bytes");
        check(LimitValue::Bytes(0), "0 bytes");
        check(LimitValue::Rate(100_000), "100000 bytes/s");
        check(LimitValue::Milliseconds(50), "50 ms");
        check(LimitValue::Milliseconds(60_000), "1 min");
        check(LimitValue::Seconds(10 * 60 * 60), "10 h");
        check(LimitValue::Time(Duration::from_secs(90)), "90 s");
        check(LimitValue::Time(Duration::from_millis(1500)), "1500 ms");
        check(LimitValue::Time(Duration::ZERO), "0 ms");
        let rate = Rate { burst: 20, interval: Duration::from_secs(10) };
        check(LimitValue::Events(rate), "20 at once, then one every 10 s");
    }

    mod declared {
        use std::time::Duration;

        crate::limits! {
            /// Maximum number of things. Further things
            /// are refused.
            pub(super) const MAX_THINGS: usize = 4; Count by Client;
            /// Longest wait.
            const MAX_WAIT: Duration = Duration::from_secs(30); Time by Worker;
        }

        pub(super) struct Sizes;

        pub(super) mod rates {
            use crate::Rate;
            use std::time::Duration;

            crate::limits! {
                /// Maximum number of lines.
                const MAX_LINES: Rate = Rate { burst: 5, interval: Duration::from_secs(2) }; Events by Worker;
            }
        }

        impl Sizes {
            crate::limits! { in Self;
                /// Maximum size.
                pub(super) const MAX_BYTES: u64 = 1 << 20; Bytes by Program;
            }

            pub(super) const fn all() -> &'static [crate::Limit] {
                Self::LIMITS
            }
        }
    }

    #[test]
    fn declared_limits_are_constants_and_rows_of_the_table() {
        let [things, wait] = declared::LIMITS else { panic!("two limits were declared") };
        assert_eq!((things.name, things.value), ("MAX_THINGS", LimitValue::Count(declared::MAX_THINGS as u64)));
        let words: Vec<&str> = things.reason.split_whitespace().collect();
        assert_eq!(words.join(" "), "Maximum number of things. Further things are refused.");
        assert!(things.module.ends_with("declared"), "{}", things.module);
        assert_eq!((wait.value.to_string().as_str(), wait.peer), ("30 s", LimitPeer::Worker));
        let [lines] = declared::rates::LIMITS else { panic!("one limit was declared") };
        assert_eq!(lines.value, LimitValue::Events(Rate { burst: 5, interval: Duration::from_secs(2) }));
        let [bytes] = declared::Sizes::all() else { panic!("one limit was declared") };
        assert_eq!((bytes.name, bytes.value), ("MAX_BYTES", LimitValue::Bytes(declared::Sizes::MAX_BYTES)));
    }
}
