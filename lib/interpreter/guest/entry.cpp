#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {
namespace {

constexpr deploy_guest kTable = {
    .abi_version = DEPLOY_ABI_VERSION,
    .size = sizeof(deploy_guest),
    .python_version = PY_VERSION,
    .boot = boot,
    .shutdown = shutdown,
    .thread_attach = thread_attach,
    .thread_detach = thread_detach,
    .thread_dispose = thread_dispose,
    .interrupt = interrupt,
    .take_back_interrupt = take_back_interrupt,
    .freeze = freeze,
    .import_module = import_module,
    .global = global,
    .from_value = from_value,
    .attr = attr,
    .hasattr = hasattr,
    .release = release,
    .call = call,
    .call_value = call_value,
    .enter_grad_mode = enter_grad_mode,
    .leave_grad_mode = leave_grad_mode,
    .to_value = to_value,
    .type_name = type_name,
    .str = str,
    .register_module = register_module,
};

}  // namespace
}  // namespace deploy::guest

// The one symbol that the host asks for. Null where the host speaks another version of the border.
extern "C" __attribute__((visibility("default"))) const deploy_guest* deploy_guest_entry(const deploy_host* host) {
  if (host == nullptr || host->abi_version != DEPLOY_ABI_VERSION || host->size < sizeof(deploy_host)) return nullptr;
  deploy::guest::use_host_memory(*host);
  deploy::guest::use_host_output(*host);
  return &deploy::guest::kTable;
}
