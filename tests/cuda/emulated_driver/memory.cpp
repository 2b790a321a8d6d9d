// Device memory, which lies in the CPU's memory under an address that nobody can use by mistake, and pinned memory,
// which also has such an address if it is mapped into the device.
#include <algorithm>
#include <cstring>

#include "driver.h"

namespace {

// A device address is the CPU's with these bits added; dereferencing it ends the process on every CPU.
constexpr Address ON_DEVICE = 0xD000000000000000, MAPPED = 0xE000000000000000;
constexpr Address BITS_OF_CPU = 0x0FFFFFFFFFFFFFFF;
constexpr unsigned DEVICEMAP = 2;  // CU_MEMHOSTALLOC_DEVICEMAP
constexpr size_t ALIGNMENT = 256;  // of all memory from the driver
constexpr size_t BESIDE = 256;     // bytes before and after an allocation, which nobody may write
constexpr char RUBBISH = char(0xCD), UNTOUCHED = char(0xB5);

int freed_while_used = 0;

Memory make(size_t bytes) {
  Memory memory;
  size_t room = BESIDE + (bytes + BESIDE + ALIGNMENT);
  memory.block.reset(new char[room]);
  std::memset(memory.block.get(), UNTOUCHED, room);
  auto begin = reinterpret_cast<uintptr_t>(memory.block.get()) + BESIDE;
  memory.bytes = reinterpret_cast<char*>((begin + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  memory.size = bytes;
  std::memset(memory.bytes, RUBBISH, bytes);
  return memory;
}

size_t in_use() {
  size_t sum = 0;
  for (auto& entry : device_memory) sum += entry.second.size;
  return sum;
}

// The allocation in which all of these bytes lie, or end().
std::map<Address, Memory>::iterator holder(std::map<Address, Memory>& memory, Address address, size_t bytes) {
  auto after = memory.upper_bound(address);
  if (after == memory.begin()) return memory.end();
  auto block = std::prev(after);
  bool inside = address - block->first <= block->second.size && bytes <= block->second.size - (address - block->first);
  return inside ? block : memory.end();
}

Result give_back(std::map<Address, Memory>& memory, Address address) {
  auto block = memory.find(address);
  if (block == memory.end()) return refuse(INVALID_VALUE, "freed, but never allocated or freed already");
  bool used = awaited(address, block->second.size) || awaited(address | MAPPED, block->second.size);
  if (used) ++freed_while_used;
  memory.erase(block);
  return SUCCESS;
}

}  // namespace

char* on_host(Address address, size_t bytes) {
  auto block = holder(device_memory, address, bytes);
  if (block != device_memory.end()) return block->second.bytes + (address - block->first);
  if ((address & ~BITS_OF_CPU) != MAPPED) return nullptr;
  auto shared = holder(pinned_memory, address & BITS_OF_CPU, bytes);
  bool mapped = shared != pinned_memory.end() && shared->second.mapped;
  return mapped ? reinterpret_cast<char*>(address & BITS_OF_CPU) : nullptr;
}

bool is_pinned(const void* address, size_t bytes) {
  return holder(pinned_memory, Address(address), bytes) != pinned_memory.end();
}

std::string written_beside() {
  auto touched = [](char byte) { return byte != UNTOUCHED; };
  for (auto* kind : {&device_memory, &pinned_memory})
    for (auto& entry : *kind) {
      const Memory& memory = entry.second;
      char *first = memory.bytes - BESIDE, *end = memory.bytes + memory.size;
      std::string which = " the allocation of " + std::to_string(memory.size) + " bytes";
      if (std::any_of(first, memory.bytes, touched)) return "before" + which;
      if (std::any_of(end, end + BESIDE, touched)) return "behind" + which;
    }
  return "";
}

EXPORT Result cuMemAlloc_v2(Address* address, size_t bytes) {
  return call("cuMemAlloc", CONTEXT | NO_CAPTURE, [&] {
    if (bytes == 0) return INVALID_VALUE;
    if (in_use() + bytes > machine.memory) return OUT_OF_MEMORY;
    Memory memory = make(bytes);
    *address = Address(memory.bytes) | ON_DEVICE;
    device_memory[*address] = std::move(memory);
    return SUCCESS;
  });
}

EXPORT Result cuMemFree_v2(Address address) {
  return call("cuMemFree", CONTEXT | NO_CAPTURE | GIVES_BACK, [&] { return give_back(device_memory, address); });
}

EXPORT Result cuMemHostAlloc(void** address, size_t bytes, unsigned flags) {
  return call("cuMemHostAlloc", CONTEXT | NO_CAPTURE, [&] {
    if (bytes == 0) return INVALID_VALUE;
    Memory memory = make(bytes);
    memory.mapped = flags & DEVICEMAP;
    *address = memory.bytes;
    pinned_memory[Address(*address)] = std::move(memory);
    return SUCCESS;
  });
}

// A current GPU accepts all pinned memory at the CPU's own address; an older one only memory that was allocated as
// mapped, at another address.
EXPORT Result cuMemHostGetDevicePointer_v2(Address* address, void* host, unsigned) {
  return call("cuMemHostGetDevicePointer", CONTEXT, [&] {
    auto block = holder(pinned_memory, Address(host), 1);
    if (block == pinned_memory.end() || !block->second.mapped) return refuse(INVALID_VALUE, "it is not mapped");
    *address = Address(host) | MAPPED;
    return SUCCESS;
  });
}

EXPORT Result cuMemFreeHost(void* address) {
  return call("cuMemFreeHost", CONTEXT | NO_CAPTURE | GIVES_BACK,
              [&] { return give_back(pinned_memory, Address(address)); });
}

EXPORT Result cuMemGetInfo_v2(size_t* available, size_t* total) {
  return call("cuMemGetInfo", CONTEXT, [&] {
    *available = machine.memory - std::min(machine.memory, in_use());
    *total = machine.memory;
    return SUCCESS;
  });
}

// Number of times that memory was freed while work on it was pending. On a GPU this may or may not fail.
EXPORT int emulated_freed_while_used() {
  int times = freed_while_used;
  freed_while_used = 0;
  return times;
}
