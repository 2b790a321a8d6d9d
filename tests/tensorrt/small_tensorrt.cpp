// The part of TensorRT that takes a plugin from its creator to a run: a registry, and one node of a network. It calls
// plugins as the documentation of IPluginV3 in NvInferRuntime.h says, whatever language they are written in.
#include <NvInfer.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace nvinfer1;

namespace {

struct Expression final : IDimensionExpr, apiv::VDimensionExpr {
  explicit Expression(int64_t value) : value(value) { mImpl = this; }
  bool isConstant() const override { return true; }
  int64_t getConstantValue() const override { return value; }
  bool isSizeTensor() const override { return false; }
  int64_t value;
};

struct Builder final : IExprBuilder, apiv::VExprBuilder {
  Builder() { mImpl = this; }
  IDimensionExpr const *constant(int64_t value) override { return &kept.emplace_back(value); }
  IDimensionExpr const *operation(DimensionOperation kind, IDimensionExpr const &a, IDimensionExpr const &b) override {
    int64_t first = a.getConstantValue(), second = b.getConstantValue();
    return kind == DimensionOperation::kSUB ? constant(first - second) : nullptr;
  }
  IDimensionExpr const *declareSizeTensor(int32_t, IDimensionExpr const &, IDimensionExpr const &) override {
    return nullptr;
  }
  std::deque<Expression> kept;
};

struct Registry final : IPluginRegistry {
  bool registerCreator(IPluginCreatorInterface &creator, char const *space) noexcept override {
    auto &one = static_cast<IPluginCreatorV3One &>(creator);
    if (getCreator(one.getPluginName(), one.getPluginVersion(), space)) return false;
    creators.push_back(&creator);
    spaces.push_back(space);
    return true;
  }
  IPluginCreatorInterface *getCreator(char const *name, char const *version, char const *space) noexcept override {
    for (size_t i = 0; i < creators.size(); ++i) {
      auto &one = static_cast<IPluginCreatorV3One &>(*creators[i]);
      if (spaces[i] == space && !std::strcmp(one.getPluginName(), name) &&
          !std::strcmp(one.getPluginVersion(), version))
        return creators[i];
    }
    return nullptr;
  }
  IPluginCreatorInterface *const *getAllCreators(int32_t *count) const noexcept override {
    *count = static_cast<int32_t>(creators.size());
    return creators.data();
  }
  bool deregisterCreator(IPluginCreatorInterface const &) noexcept override { return false; }
  void setErrorRecorder(IErrorRecorder *) noexcept override {}
  IErrorRecorder *getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool) override {}
  PluginLibraryHandle loadLibrary(char const *) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  IPluginResource *acquirePluginResource(char const *, IPluginResource *) noexcept override { return nullptr; }
  int32_t releasePluginResource(char const *) noexcept override { return 0; }
#if NV_TENSORRT_MAJOR < 11
  bool registerCreator(IPluginCreator &, char const *) noexcept override { return false; }
  IPluginCreator *const *getPluginCreatorList(int32_t *) const noexcept override { return nullptr; }
  IPluginCreator *getPluginCreator(char const *, char const *, char const *) noexcept override { return nullptr; }
  bool deregisterCreator(IPluginCreator const &) noexcept override { return false; }
#endif
#if NV_TENSORRT_MAJOR > 10 || NV_TENSORRT_MINOR >= 6
  IPluginCreatorInterface *const *getAllCreatorsRecursive(int32_t *count) noexcept override {
    return getAllCreators(count);
  }
#endif
  std::vector<IPluginCreatorInterface *> creators;
  std::vector<std::string> spaces;
};

template <class T> T *as(IPluginV3 *plugin, PluginCapabilityType type) {
  return static_cast<T *>(plugin->getCapabilityInterface(type));
}

Dims dims(std::vector<int64_t> const &sizes) {
  Dims made{};
  for (int64_t size : sizes) made.d[made.nbDims++] = size;
  return made;
}

struct Node {
  IPluginV3 *plugin = nullptr; // as loaded from a plan, attached to a context
  std::vector<PluginTensorDesc> inputs, outputs;
};

} // namespace

EXPORT IPluginRegistry *getPluginRegistry() {
  static Registry registry;
  return &registry;
}

// Tensors are passed as their type, rank and 8 sizes. The returned text says what was wrong; it is empty on success.
//
// Builds a node from attributes, each 4 bytes, and loads it again from its stored fields.
EXPORT char const *open_node(char const *name, int num_attributes, char const **names, int const *kinds,
                             int32_t const *values, int num_inputs, int64_t const *inputs, int64_t *outputs,
                             int *num_outputs, Node **opened) {
  auto *registered = getPluginRegistry()->getCreator(name, "1", "ssd_edge");
  if (!registered) return "no creator";
  auto *creator = static_cast<IPluginCreatorV3One *>(registered);
  if (creator->getFieldNames()->nbFields != num_attributes) return "fields of the creator";
  for (int i = 0; i < num_attributes; ++i)
    if (std::strcmp(creator->getFieldNames()->fields[i].name, names[i])) return "names of fields";
  std::vector<PluginField> fields;
  for (int i = 0; i < num_attributes; ++i)
    fields.emplace_back(names[i], &values[i], static_cast<PluginFieldType>(kinds[i]), 1);
  for (int i = 0; i < num_attributes; ++i) {
    PluginField field = fields[i];
    fields[i].type = field.type == PluginFieldType::kINT32 ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32;
    PluginFieldCollection wrong{num_attributes, fields.data()};
    if (creator->createPlugin("node", &wrong, TensorRTPhase::kBUILD)) return "an attribute's type is not refused";
    fields.erase(fields.begin() + i);
    PluginFieldCollection fewer{num_attributes - 1, fields.data()};
    if (creator->createPlugin("node", &fewer, TensorRTPhase::kBUILD)) return "a missing attribute is not refused";
    fields.insert(fields.begin() + i, field);
  }
  PluginFieldCollection given{num_attributes, fields.data()};
  IPluginV3 *first = creator->createPlugin("node", &given, TensorRTPhase::kBUILD);
  if (!first) return "createPlugin";
  // TensorRT asks each plugin for its core; the bindings' reference count relies on that call.
  if (!as<IPluginV3OneCore>(first, PluginCapabilityType::kCORE)) return "no core";
  IPluginV3 *plugin = first->clone();
  delete first;
  auto *core = as<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE);
  if (std::strcmp(core->getPluginName(), name) || std::strcmp(core->getPluginVersion(), "1") ||
      std::strcmp(core->getPluginNamespace(), "ssd_edge"))
    return "name";

  auto *build = as<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
  *num_outputs = build->getNbOutputs();
  Node *node = *opened = new Node;
  Builder builder;
  std::vector<DataType> types, made(*num_outputs);
  std::vector<DimsExprs> shapes, results(*num_outputs);
  std::vector<DynamicPluginTensorDesc> tensors;
  for (int i = 0; i < num_inputs; ++i) {
    int64_t const *one = inputs + 10 * i;
    node->inputs.push_back({dims({one + 2, one + 2 + one[1]}), DataType(one[0]), TensorFormat::kLINEAR, 1.0F});
    types.push_back(DataType(one[0]));
    shapes.emplace_back();
    shapes.back().nbDims = static_cast<int32_t>(one[1]);
    for (int axis = 0; axis < one[1]; ++axis) shapes.back().d[axis] = builder.constant(one[2 + axis]);
  }
  if (build->getOutputDataTypes(made.data(), *num_outputs, types.data(), num_inputs)) return "getOutputDataTypes";
  if (build->getOutputShapes(shapes.data(), num_inputs, nullptr, 0, results.data(), *num_outputs, builder))
    return "getOutputShapes";
  for (int i = 0; i < *num_outputs; ++i) {
    std::vector<int64_t> sizes;
    for (int axis = 0; axis < results[i].nbDims; ++axis) sizes.push_back(results[i].d[axis]->getConstantValue());
    node->outputs.push_back({dims(sizes), made[i], TensorFormat::kLINEAR, 1.0F});
    outputs[10 * i] = int64_t(made[i]);
    outputs[10 * i + 1] = results[i].nbDims;
    for (int axis = 0; axis < results[i].nbDims; ++axis) outputs[10 * i + 2 + axis] = sizes[axis];
  }
  for (auto &one : node->inputs) tensors.push_back({one, one.dims, one.dims, one.dims});
  for (auto &one : node->outputs) tensors.push_back({one, one.dims, one.dims, one.dims});
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto supported = [&] {
      return build->supportsFormatCombination(static_cast<int32_t>(i), tensors.data(), num_inputs, *num_outputs);
    };
    if (!supported()) return "a format is refused";
    tensors[i].desc.format = TensorFormat::kHWC8;
    if (supported()) return "a format is not refused";
    tensors[i].desc.format = TensorFormat::kLINEAR;
    DataType type = tensors[i].desc.type;
    tensors[i].desc.type = DataType::kINT8;
    if (supported()) return "a type is not refused";
    tensors[i].desc.type = type;
  }
  if (build->configurePlugin(tensors.data(), num_inputs, tensors.data() + num_inputs, *num_outputs))
    return "configurePlugin";
  if (build->getNbTactics() || build->getWorkspaceSize(tensors.data(), num_inputs, nullptr, 0)) return "tactics";

  auto *stored = as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME)->getFieldsToSerialize();
  if (!stored || stored->nbFields != num_attributes) return "getFieldsToSerialize";
  IPluginV3 *loaded = creator->createPlugin("node", stored, TensorRTPhase::kRUNTIME);
  delete plugin;
  if (!loaded) return "createPlugin of what was stored";
  node->plugin = as<IPluginV3OneRuntime>(loaded, PluginCapabilityType::kRUNTIME)->attachToContext(nullptr);
  delete loaded;
  return node->plugin ? "" : "attachToContext";
}

EXPORT char const *run_node(Node *node, void const *const *inputs, void *const *outputs, cudaStream_t stream) {
  auto *runtime = as<IPluginV3OneRuntime>(node->plugin, PluginCapabilityType::kRUNTIME);
  auto count = [](auto &tensors) { return static_cast<int32_t>(tensors.size()); };
  if (runtime->onShapeChange(node->inputs.data(), count(node->inputs), node->outputs.data(), count(node->outputs)))
    return "onShapeChange";
  if (runtime->enqueue(node->inputs.data(), node->outputs.data(), inputs, outputs, nullptr, stream)) return "enqueue";
  return "";
}

EXPORT void close_node(Node *node) {
  delete node->plugin;
  delete node;
}
