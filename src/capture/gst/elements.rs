//! Elements of a pipeline: found, told apart and set up.

use crate::capture::source::CaptureError;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Sets a property that a template's element may not have.
pub fn set(element: &gst::Element, name: &str, value: impl Into<gst::glib::Value>) -> Result<(), CaptureError> {
    if element.find_property(name).is_none() {
        return Err(CaptureError::Setup(format!(
            "element '{}' of the pipeline has no property '{name}'",
            element.name()
        )));
    }
    element.set_property_from_value(name, &value.into());
    Ok(())
}

/// Shows every element of a pipeline, those that come later too, with the class of its kind.
pub fn for_each_element(gst_pipeline: &gst::Pipeline, look: impl Fn(&gst::Element, &str) + Send + Sync + 'static) {
    let look = move |element: &gst::Element| {
        let class = element.factory().and_then(|f| f.metadata("klass").map(str::to_owned)).unwrap_or_default();
        look(element, &class);
    };
    gst_pipeline.iterate_recurse().into_iter().flatten().for_each(|element| look(&element));
    gst_pipeline.connect_deep_element_added(move |_, _, element| look(element));
}

/// Which factory made an element.
pub fn factory_name(element: &gst::Element) -> Option<gst::glib::GString> {
    element.factory().map(|f| f.name())
}
