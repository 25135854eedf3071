//! Two futures in one task, without allocation: the first to finish, or both.
//!
//! The futures stay where their caller has pinned them. Taken by value they would be kept twice, as
//! an argument and pinned, for as long as the exchange or connection waits. Invariant: what is given
//! back is a few words, whatever it drives.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Which of two futures finished first.
#[derive(Debug)]
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Runs both until one ends; the other is left where it is.
pub(crate) fn race<A, B>(
    mut a: Pin<&mut impl Future<Output = A>>,
    mut b: Pin<&mut impl Future<Output = B>>,
) -> impl Future<Output = Either<A, B>> {
    poll_fn(move |cx| {
        if let Poll::Ready(output) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
}

/// Runs `main` to its end, unless `stop` gives something before: then `main` is left where it is.
pub(crate) fn unless<A, B>(
    mut main: Pin<&mut impl Future<Output = A>>,
    mut stop: impl FnMut(&mut Context<'_>) -> Poll<B>,
) -> impl Future<Output = Result<A, B>> {
    poll_fn(move |cx| {
        if let Poll::Ready(output) = main.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        stop(cx).map(Err)
    })
}

/// Runs `side` beside `main` until `main` ends; returns what `side` gave if it ended before.
pub(crate) fn beside<A, B>(
    mut main: Pin<&mut impl Future<Output = A>>,
    mut side: Pin<&mut impl Future<Output = B>>,
) -> impl Future<Output = (A, Option<B>)> {
    let mut ended = None;
    poll_fn(move |cx| {
        if ended.is_none()
            && let Poll::Ready(output) = side.as_mut().poll(cx)
        {
            ended = Some(output);
        }
        main.as_mut().poll(cx).map(|output| (output, ended.take()))
    })
}

/// Runs both to their end.
pub(crate) fn both<A, B>(
    mut a: Pin<&mut impl Future<Output = A>>,
    mut b: Pin<&mut impl Future<Output = B>>,
) -> impl Future<Output = (A, B)> {
    let (mut left, mut right) = (None, None);
    poll_fn(move |cx| {
        if left.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            left = Some(output);
        }
        if right.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            right = Some(output);
        }
        match (left.take(), right.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (left, right) = (a, b);
                Poll::Pending
            }
        }
    })
}
