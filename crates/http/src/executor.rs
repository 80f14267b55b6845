//! Tasks of HTTP connections stay on their worker's thread.

use hyper::rt::Executor;

#[derive(Debug, Clone, Copy)]
pub struct OnThisThread;

impl<F> Executor<F> for OnThisThread
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        // Nobody waits for these tasks; they end with their connection.
        drop(tokio::task::spawn_local(future));
    }
}
