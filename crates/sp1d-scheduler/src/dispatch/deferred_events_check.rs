//! How far the check of an attempt's deferred events has come.

/// State of the check of an attempt's deferred events. They are checked at most once per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeferredEventsCheck {
    /// The worker has not reported the upload, or the list of the events had not arrived.
    NotStarted,
    /// The driver checks the uploaded deferred events.
    Running,
    /// The check has ended.
    Ended,
}
