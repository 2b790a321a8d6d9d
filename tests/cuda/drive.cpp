// Runs kernels on buffers in a process of its own, so that a sanitizer can watch it from the start and may end it.
//
// Standard input, a line each:
//   buffer NAME BYTES FILE                           memory of exactly so many bytes, filled from the file
//   launch KERNEL SEED GX GY GZ BX BY BZ ARGUMENT…   an argument is @NAME, a buffer, or an int32
// At the end every buffer is written back to its file. If a launch fails, exits with 1 and a sentence.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

extern "C" const char* cuda_on_cpu_error();
using Kernel = int (*)(unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void**, unsigned);

struct Buffer {
  void* memory;
  size_t size;
  std::string file;
};

static int fail(const std::string& why) {
  std::cerr << why << std::endl;
  return 1;
}

int main() {
  std::map<std::string, Buffer> buffers;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what, name;
    words >> what >> name;
    if (what == "buffer") {
      Buffer buffer;
      words >> buffer.size >> buffer.file;
      buffer.memory = std::malloc(buffer.size);
      FILE* file = std::fopen(buffer.file.c_str(), "rb");
      if (!file || std::fread(buffer.memory, 1, buffer.size, file) != buffer.size) return fail("no " + buffer.file);
      std::fclose(file);
      buffers[name] = buffer;
      continue;
    }
    auto kernel = reinterpret_cast<Kernel>(dlsym(RTLD_DEFAULT, (name + "_on_cpu").c_str()));
    if (!kernel) return fail("no kernel " + name);
    unsigned seed, g[3], b[3];
    words >> seed >> g[0] >> g[1] >> g[2] >> b[0] >> b[1] >> b[2];
    // Arguments are passed by address, as to a driver. A union is large enough for either kind.
    union Argument {
      void* pointer;
      int scalar;
    };
    std::vector<Argument> arguments;
    for (std::string word; words >> word;) {
      Argument argument;
      if (word[0] == '@')
        argument.pointer = buffers.at(word.substr(1)).memory;
      else
        argument.scalar = std::stoi(word);
      arguments.push_back(argument);
    }
    std::vector<void*> addresses;
    for (Argument& argument : arguments) addresses.push_back(&argument);
    if (kernel(g[0], g[1], g[2], b[0], b[1], b[2], addresses.data(), seed)) return fail(cuda_on_cpu_error());
  }
  for (auto& [name, buffer] : buffers) {
    FILE* file = std::fopen(buffer.file.c_str(), "wb");
    if (!file || std::fwrite(buffer.memory, 1, buffer.size, file) != buffer.size) return fail("cannot write " + name);
    std::fclose(file);
    std::free(buffer.memory);
  }
  return 0;
}
