//! The client connections of HTTP/2, so that a drain can tell each of them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use proxy::http::RequestHead;

use super::Shared;

/// All of one shard.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    places: Rc<RefCell<Vec<Weak<Shared<RequestHead>>>>>,
}

/// A place in the list, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Rc<RefCell<Vec<Weak<Shared<RequestHead>>>>>,
    shared: Weak<Shared<RequestHead>>,
}

impl Listed {
    pub(crate) fn enter(&self, shared: &Rc<Shared<RequestHead>>) -> Place {
        self.places.borrow_mut().push(Rc::downgrade(shared));
        Place { places: Rc::clone(&self.places), shared: Rc::downgrade(shared) }
    }

    /// Tells every connection that it is to end.
    pub(crate) fn drain(&self) {
        for shared in self.places.borrow().iter().filter_map(Weak::upgrade) {
            shared.drain();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.borrow_mut();
        if let Some(at) = places.iter().position(|place| place.ptr_eq(&self.shared)) {
            places.swap_remove(at);
        }
    }
}
