// The decode nodes as TensorRT plugins (IPluginV3, 10.3 and later) for programs without Python: trtexec, DeepStream,
// Triton. Loading this library registers them with TensorRT. kernels.cu computes the nodes; the types, shapes and
// launches here repeat those of nodes.py and launch.py, and a test compares them.
#include "launch.h"

#include <NvInfer.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace nvinfer1;

namespace {

constexpr char const *kNamespace = "ssd_edge";
constexpr char const *kVersion = "1";
constexpr DataType kHeads = DataType::kINT8; // stands in the tables for FP32 or FP16, the same as the first input
constexpr DataType kSingle = DataType::kFLOAT;
constexpr DataType kInteger = DataType::kINT32;
constexpr PluginFieldType kInt = PluginFieldType::kINT32;
constexpr PluginFieldType kReal = PluginFieldType::kFLOAT32;
constexpr int32_t kCapacity = 1024; // CAPACITY of kernels.cu

struct Attribute {
  char const *name;
  PluginFieldType type;
  bool bounded; // whether it must be 1 to kCapacity
};

// One operator. Its kernel's scalars are two dimensions of the second input, then the attributes in order.
struct Node {
  char const *name;
  std::vector<Attribute> attributes;
  std::vector<DataType> inputs, outputs;
  int dimensions[2];
};

Node const kNodes[] = {
    {"SsdDecode",
     {{"is_yxhw", kInt, false},
      {"is_sigmoid", kInt, false},
      {"is_clipped", kInt, false},
      {"score_threshold", kReal, false},
      {"centre_variance", kReal, false},
      {"size_variance", kReal, false}},
     {kHeads, kHeads, kSingle},
     {kSingle, kSingle},
     {1, 2}},
    {"SsdSelect",
     {{"top_k", kInt, true}, {"nms_iou", kReal, false}},
     {kSingle, kSingle},
     {kSingle, kSingle, kInteger},
     {2, 1}},
    {"SsdMerge",
     {{"max_detections", kInt, true}},
     {kSingle, kSingle, kInteger},
     {kInteger, kSingle, kSingle, kInteger, kInteger},
     {1, 2}},
};

using Expression = IDimensionExpr const *;

void set(DimsExprs &shape, std::initializer_list<Expression> sizes) {
  shape.nbDims = 0;
  for (Expression size : sizes) shape.d[shape.nbDims++] = size;
}

class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
  // Attributes are int32, a float as its bits.
  Plugin(Node const &node, std::vector<int32_t> attributes) : mNode(node), mAttributes(std::move(attributes)) {
    for (size_t i = 0; i < node.attributes.size(); ++i)
      mFields.emplace_back(node.attributes[i].name, &mAttributes[i], node.attributes[i].type, 1);
    mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
  }

  IPluginCapability *getCapabilityInterface(PluginCapabilityType type) noexcept override {
    switch (type) {
    case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore *>(this);
    case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild *>(this);
    case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime *>(this);
    }
    return nullptr;
  }
  IPluginV3 *clone() noexcept override { return new Plugin(mNode, mAttributes); }
  char const *getPluginName() const noexcept override { return mNode.name; }
  char const *getPluginVersion() const noexcept override { return kVersion; }
  char const *getPluginNamespace() const noexcept override { return kNamespace; }

  // Called while an engine is built.

  int32_t getNbOutputs() const noexcept override { return static_cast<int32_t>(mNode.outputs.size()); }

  int32_t getOutputDataTypes(DataType *types, int32_t, DataType const *, int32_t) const noexcept override {
    for (DataType type : mNode.outputs) *types++ = type;
    return 0;
  }

  int32_t getOutputShapes(DimsExprs const *inputs, int32_t, DimsExprs const *, int32_t, DimsExprs *outputs, int32_t,
                          IExprBuilder &builder) noexcept override {
    Expression batch = inputs[1].d[0], first = inputs[1].d[1], second = inputs[1].d[2], four = builder.constant(4);
    if (&mNode == &kNodes[0]) {
      set(outputs[0], {batch, first, four});
      set(outputs[1], {batch, builder.operation(DimensionOperation::kSUB, *second, *builder.constant(1)), first});
    } else if (&mNode == &kNodes[1]) {
      Expression most = builder.constant(mAttributes[0]);
      set(outputs[0], {batch, first, most, four});
      set(outputs[1], {batch, first, most});
      set(outputs[2], {batch, first});
    } else {
      Expression most = builder.constant(mAttributes[0]);
      set(outputs[0], {batch});
      set(outputs[1], {batch, most, four});
      set(outputs[2], {batch, most});
      set(outputs[3], {batch, most});
      set(outputs[4], {batch});
    }
    return 0;
  }

  bool supportsFormatCombination(int32_t position, DynamicPluginTensorDesc const *tensors, int32_t inputs,
                                 int32_t) noexcept override {
    PluginTensorDesc const &tensor = tensors[position].desc;
    DataType wanted = position < inputs ? mNode.inputs[position] : mNode.outputs[position - inputs];
    if (wanted == kHeads) {
      wanted = tensors[0].desc.type;
      if (wanted != DataType::kFLOAT && wanted != DataType::kHALF) return false;
    }
    return tensor.format == TensorFormat::kLINEAR && tensor.type == wanted;
  }

  int32_t configurePlugin(DynamicPluginTensorDesc const *, int32_t, DynamicPluginTensorDesc const *,
                          int32_t) noexcept override {
    return 0;
  }

  // Called while an engine runs.

  IPluginV3 *attachToContext(IPluginResourceContext *) noexcept override { return clone(); }

  int32_t onShapeChange(PluginTensorDesc const *, int32_t, PluginTensorDesc const *, int32_t) noexcept override {
    return 0;
  }

  int32_t enqueue(PluginTensorDesc const *descriptions, PluginTensorDesc const *, void const *const *inputs,
                  void *const *outputs, void *, cudaStream_t stream) noexcept override {
    Dims const &shape = descriptions[1].dims;
    std::vector<int32_t> scalars;
    for (int dimension : mNode.dimensions) scalars.push_back(static_cast<int32_t>(shape.d[dimension]));
    scalars.insert(scalars.end(), mAttributes.begin(), mAttributes.end());
    std::vector<void const *> pointers(inputs, inputs + mNode.inputs.size());
    pointers.insert(pointers.end(), outputs, outputs + mNode.outputs.size());

    std::vector<void *> arguments;
    auto pointer = pointers.begin();
    for (size_t i = 0; i < mNode.inputs.size(); ++i) arguments.push_back(&*pointer++);
    for (int32_t &scalar : scalars) arguments.push_back(&scalar);
    for (size_t i = 0; i < mNode.outputs.size(); ++i) arguments.push_back(&*pointer++);

    auto batch = static_cast<unsigned>(shape.d[0]), first = static_cast<unsigned>(shape.d[1]);
    char const *failed = nullptr;
    if (&mNode == &kNodes[0]) {
      bool half = descriptions[0].type == DataType::kHALF;
      char const *kernel = half ? "ssd_decode_fp16" : "ssd_decode_fp32";
      failed = launch(kernel, (first + kTile - 1) / kTile, batch, arguments.data(), stream);
    } else if (&mNode == &kNodes[1]) {
      failed = launch("ssd_select", first, batch, arguments.data(), stream);
    } else {
      failed = launch("ssd_merge", kMergers, batch, arguments.data(), stream);
    }
    if (failed) std::fprintf(stderr, "ssd-edge: launching %s failed: %s\n", mNode.name, failed);
    return failed ? -1 : 0;
  }

  int32_t setTactic(int32_t) noexcept override { return 0; }

  PluginFieldCollection const *getFieldsToSerialize() noexcept override { return &mCollection; }

private:
  Node const &mNode;
  std::vector<int32_t> mAttributes;
  std::vector<PluginField> mFields;
  PluginFieldCollection mCollection{};
};

class Creator final : public IPluginCreatorV3One {
public:
  explicit Creator(Node const &node) : mNode(node) {
    for (Attribute const &one : node.attributes) mFields.emplace_back(one.name, nullptr, one.type, 1);
    mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
  }

  char const *getPluginName() const noexcept override { return mNode.name; }
  char const *getPluginVersion() const noexcept override { return kVersion; }
  char const *getPluginNamespace() const noexcept override { return kNamespace; }
  PluginFieldCollection const *getFieldNames() noexcept override { return &mCollection; }

  IPluginV3 *createPlugin(char const *, PluginFieldCollection const *given, TensorRTPhase) noexcept override {
    std::vector<int32_t> values;
    for (Attribute const &one : mNode.attributes) {
      PluginField const *field = nullptr;
      for (int32_t i = 0; i < given->nbFields; ++i)
        if (!std::strcmp(given->fields[i].name, one.name)) field = &given->fields[i];
      if (!field) return refused(one, "is missing");
      if (field->type != one.type || field->length != 1) return refused(one, "is not one number of its type");
      int32_t bits = 0;
      std::memcpy(&bits, field->data, sizeof bits);
      if (one.bounded && (bits < 1 || bits > kCapacity)) return refused(one, "is not within 1 to 1024");
      values.push_back(bits);
    }
    return new Plugin(mNode, std::move(values));
  }

private:
  IPluginV3 *refused(Attribute const &attribute, char const *why) const {
    std::fprintf(stderr, "ssd-edge: %s's attribute %s %s: export the network again\n", mNode.name, attribute.name, why);
    return nullptr;
  }

  Node const &mNode;
  std::vector<PluginField> mFields;
  PluginFieldCollection mCollection{};
};

// Defined after kNodes in this file, so kNodes is initialised first.
struct Registered {
  Registered() {
    for (Node const &node : kNodes) {
      creators.push_back(std::make_unique<Creator>(node));
      getPluginRegistry()->registerCreator(*creators.back(), kNamespace);
    }
  }
  std::vector<std::unique_ptr<Creator>> creators;
} const registered;

} // namespace

// Lets the loader check what the library was built from.
EXPORT char const *ssd_edge_plugin_kernels() { return SSD_EDGE_KERNELS; } // SHA-256 of the kernels
EXPORT int ssd_edge_plugin_tensorrt() { return NV_TENSORRT_MAJOR; }
