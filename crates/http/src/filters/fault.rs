//! Faults put into calls on purpose.

use std::rc::Rc;

use hauberk_config::fault::{AbortStatus, Fault};
use hauberk_route::headers_fit;
use hauberk_telemetry::flags::Flag;
use hauberk_upstream::random;
use http::Request;

use super::Passed;
use crate::call::Call;
use crate::incoming::Incoming;
use crate::reply::{grpc, reply};
use crate::worker::Worker;

pub async fn disturb(mut call: Box<Call>, fault: &Fault, request: &Request<Incoming>) -> Passed {
    if !headers_fit(&fault.headers, request) {
        return Ok(call);
    }
    let worker = Rc::clone(&call.connection.worker);
    let active = worker.active_faults.get();
    if fault.max_active.is_some_and(|most| active >= most) {
        return Ok(call);
    }
    if let Some(delay) = fault.delay.filter(|delay| delay.share.includes(random())) {
        let _active = ActiveFault::new(&worker);
        tokio::time::sleep(delay.duration).await;
        call.flag(Flag::DelayInjected);
    }
    let Some(abort) = fault.abort.filter(|abort| abort.share.includes(random())) else {
        return Ok(call);
    };
    match abort.status {
        AbortStatus::Http(code) => Err(Box::new(reply(
            call,
            code,
            Flag::FaultInjected,
            "fault filter abort",
        ))),
        AbortStatus::Grpc(code) if call.grpc => {
            call.flag(Flag::FaultInjected);
            Err(Box::new(grpc(call, code)))
        }
        AbortStatus::Grpc(code) => {
            let status = http_status_of_grpc(code);
            Err(Box::new(reply(
                call,
                status,
                Flag::FaultInjected,
                "fault filter abort",
            )))
        }
    }
}

/// Counts while a call is held up on purpose.
struct ActiveFault(Rc<Worker>);

impl ActiveFault {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.active_faults.set(worker.active_faults.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for ActiveFault {
    fn drop(&mut self) {
        self.0.active_faults.set(self.0.active_faults.get() - 1);
    }
}

pub fn http_status_of_grpc(code: u32) -> u16 {
    match code {
        0 => 200,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
