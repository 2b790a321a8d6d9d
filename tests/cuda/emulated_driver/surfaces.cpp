// EGLImages, as a camera's surfaces are given to CUDA. Here an EGLImage is the address of the CUeglFrame that it maps to.
#include "driver.h"

namespace {

struct EglFrame {  // CUeglFrame
  void* planes[3];
  unsigned width, height, depth, pitch, plane_count, channels;
  int frame_type, color_format, array_format;
};
Table<EglFrame> resources;

}  // namespace

EXPORT Result cuGraphicsEGLRegisterImage(Handle* resource, const void* image, unsigned) {
  return call("cuGraphicsEGLRegisterImage", CONTEXT | NO_CAPTURE, [&] {
    if (!image) return INVALID_VALUE;
    *resource = resources.add(new EglFrame(*static_cast<const EglFrame*>(image)));
    return SUCCESS;
  });
}

EXPORT Result cuGraphicsResourceGetMappedEglFrame(EglFrame* frame, Handle resource, unsigned index, unsigned level) {
  return call("cuGraphicsResourceGetMappedEglFrame", CONTEXT, [&] {
    const EglFrame* found = resources.find(resource);
    if (!found) return INVALID_HANDLE;
    if (index || level) return INVALID_VALUE;
    *frame = *found;
    return SUCCESS;
  });
}

EXPORT Result cuGraphicsUnregisterResource(Handle resource) {
  return call("cuGraphicsUnregisterResource", CONTEXT | GIVES_BACK,
              [&] { return resources.made.erase(resource) ? SUCCESS : INVALID_HANDLE; });
}

// For the tests: number of surfaces that are still registered.
EXPORT long emulated_surfaces() { return long(resources.made.size()); }
