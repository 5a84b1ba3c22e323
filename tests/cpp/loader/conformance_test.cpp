#include <dlfcn.h>

#include <array>
#include <thread>

#include "tests/cpp/loader/fixture_namespace.h"

// Behaviours that the system's loader and ours must agree on; each fixture says in its own file what it checks.

namespace deploy::loader {

namespace {

struct Copy {
  std::unique_ptr<Namespace> space;
  Library* library = nullptr;
};

void check_everywhere(const Copy& copy, const Behaviour& b, ExistingThread& existing) {
  const auto run = [&] { return call(*copy.space, copy.library, b.function); };
  EXPECT_EQ(run(), 0) << "line of the fixture, from the loading thread";
  EXPECT_EQ(existing.run(run), 0) << "line of the fixture, from an older thread";
  int in_new_thread = -1;
  std::thread([&] { in_new_thread = run(); }).join();
  EXPECT_EQ(in_new_thread, 0) << "line of the fixture, from a new thread";
  EXPECT_EQ(run(), 0) << "line of the fixture, once more from the loading thread";
}

}  // namespace

TEST_P(Conformance, InThreeNamespacesAsWithTheSystem) {
  const Behaviour& b = GetParam();
  const std::string path = fixture_path(b.fixture);
  if (b.reference) {
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_TRUE(handle) << ::dlerror();
    auto check = reinterpret_cast<int (*)()>(::dlsym(handle, b.function));
    ASSERT_TRUE(check);
    EXPECT_EQ(check(), 0) << "line of the fixture, loaded by the system";
    int in_new_thread = -1;
    std::thread([&] { in_new_thread = check(); }).join();
    EXPECT_EQ(in_new_thread, 0) << "line of the fixture, loaded by the system, from a new thread";
  }
  const int before = mappings_of(path);
  ExistingThread existing;
  std::array<Copy, 3> copies;
  for (Copy& copy : copies) {
    copy.space = make_namespace();
    copy.library = load_fixture(*copy.space, b.fixture);
    ASSERT_TRUE(copy.library);
  }
  EXPECT_GT(mappings_of(path), before);
  for (Copy& copy : copies) check_everywhere(copy, b, existing);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j <= i; ++j) EXPECT_EQ(call(*copies[i].space, copies[i].library, "fixture_writes"), j + 1);
  }
  for (Copy& copy : copies) {
    auto unloaded = copy.space->unload();
    EXPECT_TRUE(unloaded) << (unloaded ? "" : unloaded.failure().message);
  }
  EXPECT_EQ(mappings_of(path), before);
}

DEPLOY_BEHAVIOURS(Relocations,                                            //
                  {"RelativePointersPointIntoTheirOwnCopy", "relative"},  //
                  {"PackedRelativeRelocations", "relr"},                  //
                  {"SymbolPlusAddend", "absolute"},                       //
                  {"CallsAndDataOfAnotherLibraryLazy", "user_lazy"},      //
                  {"CallsAndDataOfAnotherLibraryNow", "user_now"},        //
                  {"CallsWithoutPlt", "user_no_plt"},                     //
                  {"UnsortedRelocations", "user_combreloc"},              //
                  {"CodeAndHeadersInOneSegment", "user_one_segment"},     //
                  {"SizesAndDistancesOfSymbols", "size_pc64"},            //
                  {"RelocationsInsideTheCode", "text_relocation"},        //
                  // The system's loader calls a resolver before the PLT that it uses is relocated, and crashes.
                  {"IndirectFunctions", "ifunc", "check", false},                       //
                  {"IndirectFunctionsOfAnotherLibrary", "ifunc_user", "check", false},  //
                  {"IndirectFunctionsWithoutPlt", "ifunc_now"},                         //
                  {"ConstantsAreReadOnlyAfterRelocation", "relro"},                     //
                  {"SegmentsAlignedToTwoMegabytes", "segments"},                        //
                  {"ZeroedDataBeyondTheFile", "bss_tail"},                              //
                  {"WithAPropertyNote", "properties"},                                  //
                  // The system's loader asks for a version that lld 14 does not write.
                  {"PackedByLld", "lld_relr", "check", false},                //
                  {"SegmentsThatShareAPageOfTheFile", "lld_layout"},          //
                  {"SegmentsThatShareNoPageOfTheFile", "lld_separate"},       //
                  {"CodeAndConstantsInOneSegmentByLld", "lld_one_segment"},   //
                  {"UnsortedRelocationsByLld", "lld_unsorted"},               //
                  {"IndirectFunctionsByLld", "lld_ifunc"},                    //
                  {"RelocationsInsideTheCodeByLld", "lld_text_relocation"},   //
                  {"ConstantsAreReadOnlyAfterRelocationByLld", "lld_relro"},  //
                  {"ZeroedDataBeyondTheFileByLld", "lld_bss_tail"});

DEPLOY_BEHAVIOURS(Symbols,                                                                     //
                  {"TheFirstDefinitionInTheScopeWins", "interposed"},                          //
                  {"SymbolicLibrariesBindToThemselves", "not_interposed_symbolic"},            //
                  {"ProtectedSymbolsBindToTheirLibrary", "not_interposed_protected"},          //
                  {"HiddenSymbolsBindToTheirLibrary", "not_interposed_hidden"},                //
                  {"ADiamondOfNeedsHasOneBottom", "diamond"},                                  //
                  {"NeedsInACircle", "circle"},                                                //
                  {"WeakReferencesMayStayEmpty", "weak"},                                      //
                  {"WeakAndStrongWithoutVersionToALibraryThatIsNotNeeded", "no_versions"},     //
                  {"CommonSymbolsAreOneInTheScope", "common_user"},                            //
                  {"AbsoluteSymbolsDoNotMove", "absolute_symbol"},                             //
                  {"UniqueSymbols", "unique_a"},                                               //
                  {"GnuHash", "hash_gnu"},                                                     //
                  {"SysvHash", "hash_sysv"},                                                   //
                  {"BothHashes", "hash_both"},                                                 //
                  {"UnoptimisedHash", "hash_one_bucket"},                                      //
                  {"FunctionsBoundToTheirLibraryAndDataNot", "symbolic_functions"},            //
                  {"StrongFunctionsBoundToTheirLibraryAndWeakNot", "lld_symbolic_functions"},  //
                  {"ProtectedSymbolsByClang", "clang_not_interposed"},                         //
                  {"StaticsOfTemplatesByClang", "clang_unique"},                               //
                  {"GnuHashByLld", "lld_hash_gnu"},                                            //
                  {"SysvHashByLld", "lld_hash_sysv"});

DEPLOY_BEHAVIOURS(Versions,                                                         //
                  {"AReferenceToAnOldVersionGetsIt", "versions_user_old"},          //
                  {"AReferenceToTheNewVersionGetsIt", "versions_user_new"},         //
                  {"AReferenceWithoutVersionGetsTheOldest", "versions_user_none"},  //
                  {"AReferenceByLld", "lld_versions_user"});

DEPLOY_BEHAVIOURS(ThreadLocalStorage,                                                //
                  {"GeneralDynamic", "tls_general"},                                 //
                  {"LocalDynamic", "tls_local"},                                     //
                  {"InitialExec", "tls_initial"},                                    //
                  {"Descriptors", "tls_descriptors"},                                //
                  {"WithoutPlt", "tls_no_plt"},                                      //
                  {"OfAnotherLibraryGeneralDynamic", "tls_user_general"},            //
                  {"OfAnotherLibraryByDescriptors", "tls_user_descriptors"},         //
                  {"OfAnotherLibraryInitialExec", "tls_user_initial"},               //
                  {"AlignedToAPage", "tls_page_aligned"},                            //
                  {"AlignedToAPageByDescriptors", "tls_page_aligned_descriptors"},   //
                  {"ZeroesOnly", "tls_zero"},                                        //
                  {"AWeakReferenceToNothing", "tls_weak"},                           //
                  {"AWeakReferenceToNothingByDescriptors", "tls_weak_descriptors"},  //
                  {"FoundByDlsym", "tls_dlsym"},                                     //
                  {"OfTheCLibrary", "tls_system"},                                   //
                  {"InDestructorsOfPthreadKeys", "tls_key"},                         //
                  {"CppObjectsAreDestroyedInReverseOrder", "tls_destructors"},       //
                  {"CallOnce", "tls_call_once"},                                     //
                  {"DescriptorsKeepAllRegisters", "tls_descriptor"},                 //
                  {"DescriptorsByLld", "lld_tls_descriptors"},                       //
                  {"GeneralDynamicByClang", "clang_tls_general"},                    //
                  {"LocalDynamicByClang", "clang_tls_local"},                        //
                  {"InitialExecByClang", "clang_tls_initial"},                       //
                  {"EmulatedByClang", "clang_tls_emulated"},                         //
                  {"CppObjectsByClang", "clang_tls_destructors"});

DEPLOY_BEHAVIOURS(Initialisers,                                          //
                  {"GetTheProgramsArguments", "init_arguments"},         //
                  {"MayOpenLibraries", "init_loads"},                    //
                  {"FindWhatTheyNeedConstructed", "init_calls_needed"},  //
                  {"ForkHandlers", "atfork"},                            //
                  {"SignalHandlers", "signals"});

DEPLOY_BEHAVIOURS(Exceptions,                                                       //
                  {"WithinALibrary", "throw_within"},                               //
                  {"ThrownOften", "throw_within", "throw_often"},                   //
                  {"WithAStaticRunTime", "throw_static_runtime"},                   //
                  {"AcrossLibraries", "catcher"},                                   //
                  {"WithinALibraryByClang", "clang_throw_within"},                  //
                  {"AcrossLibrariesOfTwoCompilers", "clang_catcher"},               //
                  {"BacktraceWalksPrivateFrames", "backtrace"},                     //
                  {"BacktraceOfTheCLibraryNamesPrivateFrames", "backtrace_names"},  //
                  // The system's loader ends the process when an initialiser throws.
                  {"OfAnInitialiserFailTheOpen", "init_opens_throwing", "check", false});

DEPLOY_BEHAVIOURS(Libdl,                                                                       //
                  {"DladdrNamesFunctionsAndData", "libdl", "check_names"},                     //
                  {"DlopenCountsAndWidens", "libdl", "check_open"},                            //
                  {"DlinfoAnswersAllRequests", "libdl", "check_info"},                         //
                  {"DlerrorTellsOnce", "libdl", "check_errors"},                               //
                  {"DlerrorIsTheThreadsOwn", "libdl", "check_error_is_the_threads"},           //
                  {"DlopenOfNothingIsTheProgram", "libdl", "check_main_program"},              //
                  {"DlopenOfASystemLibrary", "libdl", "check_system_library"},                 //
                  {"IterateListsPrivateAndSystemLibraries", "libdl", "check_iterate"},         //
                  {"FindObjectKnowsPrivateAndSystemLibraries", "libdl", "check_find_object"},  //
                  {"NextIsTheDefinitionAfterTheCallers", "next_user"});

DEPLOY_BEHAVIOURS(Threads,                                             //
                  {"JoinedAndEndedByExit", "threads"},                 //
                  {"CancelAndExitRunCleanups", "cancel"},              //
                  {"CancelAndExitUnwindCppFrames", "cancel_unwinds"},  //
                  {"NestedFunctionsOnTheStack", "executable_stack"});

}  // namespace deploy::loader
