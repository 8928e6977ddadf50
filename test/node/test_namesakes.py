from hfnet_ros.node.namesakes import namesake_problem


def test_a_node_that_is_the_only_one_of_its_name_has_no_problem():
    assert namesake_problem("/relocalizer", ["/relocalizer", "/robot1/relocalizer", "/camera"]) == ""
    assert namesake_problem("/relocalizer", []) == ""


def test_a_second_node_of_the_name_is_told_with_what_to_do():
    problem = namesake_problem("/a/relocalizer", ["/a/relocalizer", "/camera", "/a/relocalizer"])
    assert problem.startswith("2 nodes are called /a/relocalizer: ")
    assert "left running" in problem
    assert "namespace" in problem
