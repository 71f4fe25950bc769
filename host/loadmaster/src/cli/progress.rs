//! A bar on the standard error, with rate and time left. Nothing when the
//! standard error is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws a second: enough for the eye.
const REDRAWS_PER_S: u8 = 8;

/// A bar over `total` things called `what`.
#[must_use]
pub fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(
        Some(total),
        ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S),
    );
    let template = format!(
        "{{msg}} [{{bar:30}}] {{percent:>3}} %  {{human_pos}} of {{human_len}} {what}  {{per_sec}}  {{eta}} left"
    );
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
