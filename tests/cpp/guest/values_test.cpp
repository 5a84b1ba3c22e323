#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using ValuesTest = GuestTest;

TEST_F(ValuesTest, PlainPythonValuesReachTheHostAsTheyAre) {
  EXPECT_EQ(told("None"), "None");
  EXPECT_EQ(told("True"), "True");
  EXPECT_EQ(told("False"), "False");
  EXPECT_EQ(told("-7"), "-7");
  EXPECT_EQ(told("0.5"), "0.5");
  EXPECT_EQ(told("1+2j"), "complex(1.0, 2.0)");
  EXPECT_EQ(told("'h\\u00e4'"), "'h\xc3\xa4'");
  EXPECT_EQ(told("''"), "''");
  EXPECT_EQ(told("b'\\x00x'"), std::string("b'\0x'", 5));
  EXPECT_EQ(told("bytearray(b'ab')"), "b'ab'");
}

TEST_F(ValuesTest, ContainersReachTheHostWithTheirItemsInOrder) {
  EXPECT_EQ(told("[1, [2, ()], {}]"), "[1, [2, ()], {}]");
  EXPECT_EQ(told("{'b': 1, 'a': [None], 3: (True,)}"), "{'b': 1, 'a': [None], 3: (True)}");
  EXPECT_EQ(told("{(1, 2): 'x'}"), "{(1, 2): 'x'}");
}

TEST_F(ValuesTest, IntsAtTheEndsOfInt64ReachTheHost) {
  EXPECT_EQ(told("2**63 - 1"), "9223372036854775807");
  EXPECT_EQ(told("-2**63"), "-9223372036854775808");
}

TEST_F(ValuesTest, AnIntOutsideInt64IsNoValueAndItsSizeIsNamed) {
  EXPECT_EQ(told("{'n': [0, 2**64]}"), "object['n'][1] is an int of 65 bits; a value holds ints of up to 63 bits and a sign");
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  EXPECT_EQ(told("-2**63 - 1"), "object is an int of 64 bits; a value holds ints of up to 63 bits and a sign");
}

TEST_F(ValuesTest, AStrWithALoneSurrogateIsNoValue) {
  EXPECT_EQ(told("['\\udc80']"),
            "object[0] is a str that has no UTF-8 form (UnicodeEncodeError: 'utf-8' codec can't encode character '\\udc80' in "
            "position 0: "
            "surrogates not allowed)");
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
}

TEST_F(ValuesTest, ASubclassIsWhatItsBaseIs) {
  run("import collections, enum, time\n"
      "class I(int): pass\n"
      "class S(str): pass\n"
      "class L(list): pass\n"
      "class Color(str, enum.Enum): RED = 'red'\n"
      "class Level(enum.IntEnum): HIGH = 3\n"
      "Point = collections.namedtuple('Point', 'x y')\n");
  EXPECT_EQ(told("[I(3), S('s'), L([1])]"), "[3, 's', [1]]");
  EXPECT_EQ(told("[Color.RED, Level.HIGH]"), "['red', 3]");
  EXPECT_EQ(told("Point(1, 2.5)"), "(1, 2.5)");
  EXPECT_EQ(told("time.gmtime(0)"), "(1970, 1, 1, 0, 0, 0, 3, 1, 0)");
  EXPECT_EQ(told("collections.OrderedDict([('b', 1), ('a', 2)])"), "{'b': 1, 'a': 2}");
  EXPECT_EQ(told("collections.defaultdict(int, {'k': 4})"), "{'k': 4}");
}

TEST_F(ValuesTest, AnOrderedDictKeepsTheOrderItWasMovedInto) {
  run("import collections\nd = collections.OrderedDict(a=1, b=2)\nd.move_to_end('a')");
  EXPECT_EQ(told("d"), "{'b': 2, 'a': 1}");
}

TEST_F(ValuesTest, AnyMappingIsADict) {
  run("import collections, collections.abc, types\n"
      "class Lazy(collections.abc.Mapping):\n"
      "  def __getitem__(self, key): return len(key)\n"
      "  def __iter__(self): return iter(('one', 'three'))\n"
      "  def __len__(self): return 2\n");
  EXPECT_EQ(told("Lazy()"), "{'one': 3, 'three': 5}");
  EXPECT_EQ(told("types.MappingProxyType({'a': 1})"), "{'a': 1}");
  EXPECT_EQ(told("collections.UserDict(a=1)"), "{'a': 1}");
  EXPECT_EQ(told("collections.ChainMap({'a': 1}, {'b': 2})"), "{'b': 2, 'a': 1}");
}

// What Hugging Face's ModelOutput does: a dataclass over OrderedDict, whose items leave None fields out.
TEST_F(ValuesTest, AModelOutputIsADictOfTheFieldsThatAreSet) {
  run("import collections, dataclasses\n"
      "class ModelOutput(collections.OrderedDict):\n"
      "  def __post_init__(self):\n"
      "    for field in dataclasses.fields(self):\n"
      "      value = getattr(self, field.name)\n"
      "      if value is not None: collections.OrderedDict.__setitem__(self, field.name, value)\n"
      "  def __getitem__(self, key):\n"
      "    return dict(self.items())[key] if isinstance(key, str) else tuple(self.values())[key]\n"
      "@dataclasses.dataclass\n"
      "class Output(ModelOutput):\n"
      "  loss: object = None\n"
      "  logits: object = None\n"
      "  hidden_states: object = None\n");
  EXPECT_EQ(told("Output(logits=[0.5], hidden_states=(1, 2))"), "{'logits': [0.5], 'hidden_states': (1, 2)}");
}

TEST_F(ValuesTest, AMappingWhoseItemsAreNoPairsIsNoValue) {
  run("class Odd(dict):\n  def items(self): return [1]");
  EXPECT_EQ(told("[Odd()]"), "items() of object[0] gave a int where a Mapping gives (key, value)");
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
}

TEST_F(ValuesTest, AnExceptionInItemsIsReportedAsThatException) {
  run("class Odd(dict):\n  def items(self): raise KeyError('gone')");
  EXPECT_EQ(told("Odd()"), "KeyError: 'gone'");
  EXPECT_EQ(report.error_code, ErrorCode::kPython);
  EXPECT_EQ(report.python_type, "KeyError");
}

TEST_F(ValuesTest, AnyOtherTypeIsNoValueAndIsNamedWithItsPlace) {
  run("class Cache: pass\nclass Outer:\n  class Inner: pass");
  const std::string ending =
      ", which is no value (None, bool, int, float, complex, str, bytes, list, tuple, dict, tensor); return one of these, "
      "or use the object through a session";
  EXPECT_EQ(told("{'past': (1, Cache())}"), "object['past'][1] is a test.Cache" + ending);
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  EXPECT_EQ(told("Outer.Inner()"), "object is a test.Outer.Inner" + ending);
  EXPECT_EQ(told("{1, 2}"), "object is a set" + ending);
  EXPECT_EQ(told("{Cache: 1}").substr(0, 40), "object (key <class 'test.Cache'>) is a t");
  EXPECT_EQ(called("lambda: [Cache()]"), "result[0] is a test.Cache" + ending);
}

TEST_F(ValuesTest, ADataclassIsADictOfTheFieldsThatAreSet) {
  run("import dataclasses\n"
      "@dataclasses.dataclass\n"
      "class Output:\n"
      "  logits: object\n"
      "  unset: object = dataclasses.field(init=False)\n"
      "  count: int = 2\n"
      "class Frozen(tuple): pass\n");
  EXPECT_EQ(told("Output([0.5])"), "{'logits': [0.5], 'count': 2}");
  EXPECT_EQ(told("[Output(Output(None))]"), "[{'logits': {'logits': None, 'count': 2}, 'count': 2}]");
  EXPECT_EQ(told("Output(Output)").substr(0, 29), "object['logits'] is a type, w");
  run("class Raising(Output):\n  def __getattribute__(self, name):\n    if name == 'count': raise OSError('gone')\n"
      "    return object.__getattribute__(self, name)");
  EXPECT_EQ(told("Raising(1)"), "OSError: gone");
}

// A host that takes objects gets what has a value form as values, and only the rest as objects.
TEST_F(ValuesTest, AHostThatTakesObjectsGetsThemInPlaceOfAFailure) {
  takes_objects = true;
  run("class Cache: pass\nclass Odd(dict):\n  def items(self): raise KeyError('gone')");
  EXPECT_EQ(told("{'logits': [0.5], 'past': (1, Cache())}"), "{'logits': [0.5], 'past': (1, <test.Cache>)}");
  EXPECT_EQ(told("Cache()"), "<test.Cache>");
  EXPECT_EQ(told("[{1}, 2**64, '\\udc80', Cache, len]"), "[<set>, <int>, <str>, <type>, <builtin_function_or_method>]");
  EXPECT_EQ(told("{Cache: (i for i in ())}"), "{<type>: <generator>}");
  // What Python code raises, and what is too much, is no matter of a value form.
  EXPECT_EQ(told("[Odd()]"), "KeyError: 'gone'");
  run("a = []\na.append(a)");
  EXPECT_NE(told("a").find("is more than 1000 levels deep"), std::string::npos);
  max_items = 3;
  EXPECT_EQ(told("[Cache()] * 4").substr(0, 30), "object holds more than 3 items");
}

TEST_F(ValuesTest, AnObjectThatTheHostDropsIsFreed) {
  takes_objects = true;
  run("import weakref\nclass Cache: pass\ncache = Cache()\nseen = weakref.ref(cache)");
  EXPECT_EQ(told("[cache, cache]"), "[<test.Cache>, <test.Cache>]");
  run("del cache");
  EXPECT_EQ(told("seen() is None"), "True");
}

TEST_F(ValuesTest, ATypeThatBecomesAMappingLaterIsADictFromThenOn) {
  run("import collections.abc\nclass Late:\n  def items(self): return [('a', 1)]");
  EXPECT_NE(told("Late()"), "{'a': 1}");
  run("collections.abc.Mapping.register(Late)");
  EXPECT_EQ(told("Late()"), "{'a': 1}");
}

TEST_F(ValuesTest, AListInsideItselfIsAnErrorAndNoCrash) {
  run("a = []\na.append(a)\nd = {}\nd['d'] = d");
  EXPECT_EQ(told("a"),
            "object[...][0][0][0][0][0][0][0][0][0][0][0][0] is more than 1000 levels deep, which is the limit "
            "(Environment::value_limits.depth); is a container inside itself?");
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  EXPECT_NE(told("d").find("is more than 1000 levels deep"), std::string::npos);
}

TEST_F(ValuesTest, AContainerThatChangesWhileItIsConvertedIsAnErrorAndNoCrash) {
  run("class Grow(dict):\n"
      "  def items(self):\n"
      "    target.clear()\n"
      "    return []\n");
  run("target = [Grow(), 1, 2]");
  EXPECT_EQ(told("target"), "object changed its size while it was converted");
  run("target = {'a': Grow(), 'b': 1}");
  EXPECT_EQ(told("target"), "object changed its size while it was converted");
}

// What runs while a container is walked may do anything to it.
TEST_F(ValuesTest, ContainersThatAreChangedByTheirOwnItemsAreAnErrorAndNoCrash) {
  run("class Act(dict):\n"
      "  def __init__(self, act): self.act = act\n"
      "  def items(self):\n"
      "    exec(self.act, globals())\n"
      "    return []\n");
  const std::string changed = " changed its size while it was converted";
  run("target = [Act('target.append(1)'), 1]");
  EXPECT_EQ(told("target"), "object" + changed);
  run("target = [[Act('target[0].clear(); target.clear(); del target'), 1, 2]]");
  EXPECT_EQ(told("target"), "object[0]" + changed);
  run("target = {'a': Act('target.clear(); target.update(x=1, y=2, z=3)'), 'b': 1, 'c': 2}");
  told("target");
  run("target = {'a': Act('target[1] = 2')}");
  EXPECT_EQ(told("target"), "object" + changed);
  run("target = {}\n"
      "for i in range(1000): target[i] = Act('target.pop(next(reversed(target)))')");
  EXPECT_EQ(told("target"), "object" + changed);
  // The last item is told already when the list gets shorter.
  run("target = [1, Act('target.pop()')]");
  EXPECT_EQ(told("target"), "[1, {}]");
  run("class Pairs(dict):\n  def items(self): return pairs\n"
      "pairs = [(1, Act('pairs.clear()')), (2, 3)]");
  EXPECT_EQ(told("Pairs()"), "{1: {}, 2: 3}");
}

TEST_F(ValuesTest, AMappingsItemsAreWhatItSaysWhateverItsLength) {
  run("import collections.abc, itertools\n"
      "class Odd(collections.abc.Mapping):\n"
      "  def __init__(self, items): self.pairs = items\n"
      "  def items(self): return self.pairs\n"
      "  def __getitem__(self, key): raise KeyError(key)\n"
      "  def __iter__(self): raise RuntimeError('not asked')\n"
      "  def __len__(self): return 10**18\n"
      "class Raising:\n"
      "  def __iter__(self): return self\n"
      "  def __next__(self): raise OSError('gone')\n");
  EXPECT_EQ(told("Odd(iter([(1, 2), ('a', 'b')]))"), "{1: 2, 'a': 'b'}");
  EXPECT_EQ(told("Odd(((1, 2),))"), "{1: 2}");
  EXPECT_EQ(told("[Odd(5)]"), "items() of object[0] gave a int where a Mapping gives pairs of (key, value)");
  EXPECT_EQ(told("Odd([(1, 2), (1,)])"), "items() of object gave a tuple where a Mapping gives (key, value)");
  EXPECT_EQ(told("Odd(None)"), "items() of object gave a NoneType where a Mapping gives pairs of (key, value)");
  EXPECT_EQ(told("Odd(Raising())"), "OSError: gone");
  max_items = 1000;
  for (const char* endless : {"Odd(itertools.repeat((1, 2)))", "Odd((i, i) for i in itertools.count())"}) {
    EXPECT_EQ(
        told(endless),
        "object holds more than 1000 items, which is the limit (Environment::value_limits.items); it was reached at object. A "
        "container that is in several places counts in each. Return tensors, or raise the limit");
    EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  }
}

TEST_F(ValuesTest, WhatTheHostTakesIsALimitOnDepthItemsAndBytes) {
  max_depth = 3;
  EXPECT_EQ(told("[({},)]"), "[({})]");
  EXPECT_EQ(
      told("[({1: []},)]"),
      "object[0][0][1] is more than 3 levels deep, which is the limit (Environment::value_limits.depth); is a container inside "
      "itself?");
  EXPECT_EQ(told("{(((1,),),): 2}").substr(0, 45), "object (key (((1,),),))[0][0] is more than 3 ");
  max_depth = 1000;
  max_items = 6;
  EXPECT_EQ(told("[[1, 2, 3], [4]]"), "[[1, 2, 3], [4]]");
  EXPECT_EQ(told("{1: 2, 3: 4, 5: 6}"), "{1: 2, 3: 4, 5: 6}");
  EXPECT_EQ(told("[[1, 2, 3], [4, 5]]").substr(0, 31), "object holds more than 6 items,");
  EXPECT_EQ(told("{1: 2, 3: 4, 5: 6, 7: 8}").substr(0, 31), "object holds more than 6 items,");
  EXPECT_EQ(told("[None] * 10**6").substr(0, 31), "object holds more than 6 items,");
  max_items = 1000;
  max_bytes = 10 * kItemBytes + 5;
  EXPECT_EQ(told("[1] * 10"), "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]");
  EXPECT_EQ(
      told("[1] * 11"),
      "object takes more than 405 bytes, which is the limit (Environment::value_limits.bytes); it was reached at object. Return "
      "large data as tensors, or raise the limit");
  EXPECT_EQ(told("['12345'] + [1] * 9"), "['12345', 1, 1, 1, 1, 1, 1, 1, 1, 1]");
  EXPECT_EQ(told("[1] * 9 + [b'123456']").substr(0, 35), "object takes more than 405 bytes, w");
  EXPECT_EQ(told("[1] * 9 + [bytearray(b'123456')]").substr(0, 35), "object takes more than 405 bytes, w");
  EXPECT_EQ(told("'\\u00e4' * 203").substr(0, 35), "object takes more than 405 bytes, w");
}

// A host without memory says so in the middle of the walk, which ends then.
TEST_F(ValuesTest, AWalkEndsSoonAfterTheHostHasFailed) {
  struct Failing : Recorder {
    Failing() {
      on_none = [](deploy_sink* self) {
        ++static_cast<Failing*>(self)->seen;
        self->has_failed = 1;
      };
    }
    int seen = 0;
  } sink;
  Ref object = eval("[None] * 1000");
  EXPECT_EQ(to_value(handle(object.get()), &sink, &report), -1);
  EXPECT_EQ(sink.seen, 1);
  EXPECT_EQ(report.count, 1);
  EXPECT_EQ(report.error_code, ErrorCode::kSystem);
}

TEST_F(ValuesTest, HostValuesBecomePythonObjects) {
  run("def check(*values): return repr(values)");
  EXPECT_EQ(
      called("check", {Values::none(), Values::boolean(true), Values::integer(-5), Values::real(0.25), Values::complex(1, -1)}),
      "'(None, True, -5, 0.25, (1-1j))'");
  EXPECT_EQ(called("check", {Values::str("h\xc3\xa4"), Values::bytes(std::string_view("\0x", 2))}), "'('h\xc3\xa4', b'\\x00x')'");
  EXPECT_EQ(
      called("check", {values.list({Values::integer(1), values.tuple({})}), values.dict({Values::str("k"), values.list({})})}),
      "'([1, ()], {'k': []})'");
}

TEST_F(ValuesTest, AnObjectArgumentIsThatVeryObject) {
  run("token = object()");
  Ref token = eval("token");
  const Py_ssize_t references = Py_REFCNT(token.get());
  EXPECT_EQ(called("lambda x: x is token", {Values::object(token.get())}), "True");
  EXPECT_EQ(Py_REFCNT(token.get()), references);
}

TEST_F(ValuesTest, FromValueGivesANewObject) {
  const deploy_value value = values.list({Values::integer(1)});
  Ref object(borrowed(from_value(&value, &report)));
  ASSERT_TRUE(object);
  EXPECT_TRUE(PyList_CheckExact(object.get()));
  EXPECT_EQ(PyList_GET_SIZE(object.get()), 1);
}

TEST_F(ValuesTest, AStrArgumentThatIsNotUtf8IsRefused) {
  EXPECT_EQ(called("str", {Values::str("a\x80")}),
            "a str among the arguments is not UTF-8 (UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position 1: "
            "invalid start "
            "byte); pass bytes instead");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
}

TEST_F(ValuesTest, ADictArgumentWithAnUnhashableKeyIsRefused) {
  EXPECT_EQ(called("str", {values.dict({values.list({}), Values::none()})}),
            "a dict among the arguments has a key that Python cannot hash (TypeError: unhashable type: 'list')");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
}

// How deep they may be is the host's to say.
TEST_F(ValuesTest, ArgumentsOfAnyDepthAreConverted) {
  run("def depth(x):\n"
      "  count = 0\n"
      "  while x:\n"
      "    x = x.get(1) if isinstance(x, dict) else x[0]\n"
      "    count += 1\n"
      "  return count\n");
  deploy_value deep = values.list({});
  for (int i = 0; i < 30'000; ++i) deep = values.dict({Values::integer(1), values.tuple({values.list({deep})})});
  EXPECT_EQ(called("depth", {deep}), "90000");
}

TEST_F(ValuesTest, TheTensorsOfADeepArgumentThatFailsAreAllGivenBack) {
  auto tensor = [] { return Values::tensor(new_tensor({.shape = {0}})); };
  deploy_value deep = Values::str("\xff");
  for (int i = 0; i < 50'000; ++i) deep = values.list({tensor(), deep, tensor()});
  EXPECT_NE(called("str", {deep}), "");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(deleted(), 100'000);
}

TEST_F(ValuesTest, TheTensorsOfACallThatFailsAreAllGivenBack) {
  auto tensor = [] { return Values::tensor(new_tensor({.shape = {0}})); };
  const deploy_value bad = Values::str("\xff");
  EXPECT_NE(called("str", {tensor(), values.list({tensor(), bad, tensor()}),
                           values.dict({Values::str("a"), tensor(), bad, tensor()}), tensor()}),
            "");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(deleted(), 6);
}

TEST_F(ValuesTest, AWalkThatFailsLeavesNoReferenceBehind) {
  run("class Odd: pass\nodd = Odd()\nvalue = {'a': [1, 'x' * 3, odd]}");
  Ref odd = eval("odd");
  const Py_ssize_t references = Py_REFCNT(odd.get());
  for (int i = 0; i < 10; ++i) told("value");
  EXPECT_EQ(Py_REFCNT(odd.get()), references);
}

}  // namespace
}  // namespace deploy::guest
