//! Paths of the restream, where a password is needed: what is not there is answered like what is, so that who has no
//! password learns no names.

use gstreamer::glib;
use gstreamer::glib::subclass::prelude::*;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::subclass::prelude::*;
use std::collections::BTreeSet;
use std::sync::PoisonError;
use tracing_mutex::stdsync::Mutex;

/// The path of everything that is not there.
pub const NOTHING: &str = "/";

glib::wrapper! {
    /// Leads every path that is no camera's to [`NOTHING`].
    pub struct HidingMountPoints(ObjectSubclass<imp::HidingMountPoints>) @extends rtsp::RTSPMountPoints;
}

impl Default for HidingMountPoints {
    fn default() -> Self {
        glib::Object::new()
    }
}

impl HidingMountPoints {
    /// From now on these are there.
    pub fn set_cameras(&self, cameras: &BTreeSet<String>) {
        cameras.clone_into(&mut self.imp().cameras.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct HidingMountPoints {
        pub cameras: Mutex<BTreeSet<String>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for HidingMountPoints {
        const NAME: &'static str = "PassdHidingMountPoints";
        type Type = super::HidingMountPoints;
        type ParentType = rtsp::RTSPMountPoints;
    }

    impl ObjectImpl for HidingMountPoints {}

    impl RTSPMountPointsImpl for HidingMountPoints {
        fn make_path(&self, url: &rtsp::gst_rtsp::RTSPUrl) -> Option<glib::GString> {
            let path = self.parent_make_path(url)?;
            // A camera's path may be followed by that of one of its streams.
            let camera = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let is_there = self.cameras.lock().unwrap_or_else(PoisonError::into_inner).contains(camera);
            Some(if is_there { path } else { NOTHING.into() })
        }
    }
}
