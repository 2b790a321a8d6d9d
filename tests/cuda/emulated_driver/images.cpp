// Reads a cubin or PTX as a driver does before loading: the GPU and release that it is made for, and its kernels.
#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <regex>

#include "driver.h"

namespace {

// ---- cubin: an ELF file. Each kernel has a section .nv.info.NAME of attributes, as `cuobjdump -elf` shows them.

constexpr unsigned char SIZED = 0x04;  // form of an attribute: its kind, a size of 16 bits, then that many bytes
constexpr unsigned char MAX_THREADS = 0x05, KPARAM_INFO = 0x17;

template <class T>
T read(const char* place) {
  T value;
  std::memcpy(&value, place, sizeof value);
  return value;
}

void read_attributes(const char* info, size_t size, Kernel& kernel) {
  for (const char *place = info, *end = info + size; place + 4 <= end;) {
    auto form = static_cast<unsigned char>(place[0]), kind = static_cast<unsigned char>(place[1]);
    unsigned bytes = form == SIZED ? read<uint16_t>(place + 2) : 0;
    const char* data = place + 4;
    if (form == SIZED && kind == KPARAM_INFO) {  // index, ordinal and offset, bits among which the size begins at 18
      unsigned ordinal = read<uint16_t>(data + 4);
      if (kernel.parameters.size() <= ordinal) kernel.parameters.resize(ordinal + 1);
      kernel.parameters[ordinal] = {read<uint16_t>(data + 6), read<uint32_t>(data + 8) >> 18};
    }
    if (form == SIZED && kind == MAX_THREADS)
      kernel.max_threads = read<uint32_t>(data) * read<uint32_t>(data + 4) * read<uint32_t>(data + 8);
    place = data + bytes;
  }
}

Result read_cubin(const char* image, Module& module) {
  auto header = read<Elf64_Ehdr>(image);
  if (header.e_machine != EM_CUDA) return refuse(INVALID_IMAGE, "an ELF file, but no cubin");
  // Since CUDA 13 (ABI version 8) the architecture is in the second byte.
  unsigned architecture = (header.e_ident[EI_ABIVERSION] >= 8 ? header.e_flags >> 8 : header.e_flags) & 0xff;
  unsigned device = unsigned(machine.major * 10 + machine.minor);
  if (architecture / 10 != device / 10 || architecture > device)
    return refuse(NO_BINARY_FOR_GPU, "a cubin for sm_" + std::to_string(architecture));
  auto section = [&](unsigned i) { return read<Elf64_Shdr>(image + header.e_shoff + i * sizeof(Elf64_Shdr)); };
  const char* names = image + section(header.e_shstrndx).sh_offset;
  const std::string info = ".nv.info.", shared = ".nv.shared.";
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr part = section(i);
    std::string name = names + part.sh_name;
    if (name.rfind(info, 0) == 0)
      read_attributes(image + part.sh_offset, part.sh_size, module.kernels[name.substr(info.size())]);
    if (name.rfind(shared, 0) == 0) module.kernels[name.substr(shared.size())].shared = unsigned(part.sh_size);
  }
  return SUCCESS;
}

// ---- PTX: text. https://docs.nvidia.com/cuda/parallel-thread-execution

// The CUDA release that brought a PTX version: the table "PTX Release History".
int release_of(int major, int minor) {
  if (major < 8) return (major + 4) * 1000 + minor * 10;  // 7.1 came with CUDA 11.1
  if (major == 8) return 12000 + (minor <= 5 ? minor : minor + 1) * 10;
  return (major + 4) * 1000 + minor * 10;
}

Result read_ptx(const std::string& text, Module& module) {
  std::smatch match;
  if (!std::regex_search(text, match, std::regex(R"(\.version\s+(\d+)\.(\d+))")))
    return refuse(INVALID_IMAGE, "neither a cubin nor PTX");
  if (release_of(std::stoi(match[1]), std::stoi(match[2])) > machine.release)
    return refuse(UNSUPPORTED_PTX_VERSION, "PTX " + match[1].str() + "." + match[2].str());
  if (!std::regex_search(text, match, std::regex(R"(\.target\s+sm_(\d+))")))
    return refuse(INVALID_IMAGE, "PTX without .target");
  if (std::stoi(match[1]) > machine.major * 10 + machine.minor)
    return refuse(NO_BINARY_FOR_GPU, "PTX for sm_" + match[1].str());
  const std::regex entry(R"(\.entry\s+(\w+)\s*\(([^)]*)\)\s*(?:\.maxntid\s+(\d+)(?:,\s*(\d+))?(?:,\s*(\d+))?)?)");
  const std::regex parameter(R"(\.param\s+(?:\.align\s+\d+\s+)?\.[a-z](\d+))");
  const std::sregex_iterator none;
  for (std::sregex_iterator kernel(text.begin(), text.end(), entry); kernel != none; ++kernel) {
    Kernel& made = module.kernels[(*kernel)[1]];
    std::string list = (*kernel)[2];
    unsigned offset = 0;
    for (std::sregex_iterator one(list.begin(), list.end(), parameter); one != none; ++one) {
      unsigned size = unsigned(std::stoi((*one)[1])) / 8;
      offset = (offset + size - 1) / size * size;
      made.parameters.push_back({offset, size});
      offset += size;
    }
    if ((*kernel)[3].matched) {
      made.max_threads = 1;
      for (int i = 3; i < 6; ++i)
        if ((*kernel)[i].matched) made.max_threads *= unsigned(std::stoi((*kernel)[i]));
    }
  }
  return SUCCESS;
}

}  // namespace

Result read_image(const char* image, Module& module) {
  bool elf = std::strncmp(image, ELFMAG, SELFMAG) == 0;
  if (Result result = elf ? read_cubin(image, module) : read_ptx(image, module)) return result;
  for (auto& entry : module.kernels) entry.second.name = entry.first;
  return SUCCESS;
}
