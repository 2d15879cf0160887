//! Tells the service manager that started the process when it is ready, and when it stops. See sd_notify(3).

use sd_notify::NotifyState;

/// Tells the service manager that the process accepts connections. With `Type=notify`, systemd starts other units and
/// returns from `systemctl start` only then. Does nothing without a service manager.
pub(super) fn report_ready() {
    report(&NotifyState::Ready);
}

/// Tells the service manager that the process has started to stop. Does nothing without a service manager.
pub(super) fn report_stopping() {
    report(&NotifyState::Stopping);
}

fn report(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, %state, "cannot reach the service manager (NOTIFY_SOCKET)");
    }
}
