"""Half-edge collapse with quadric error (Garland and Heckbert, 1997), keeping a subset of the vertices.

Because survivors are vertices of the source, blend shapes and skin weights carry over by index.
"""

import heapq

import numpy as np

MIN_NORMAL_COSINE = 0.3  # a collapse may not turn a face further than this


def simplify(vertices: np.ndarray, faces: np.ndarray, num_vertices: int, num_boundary: int, keep: set[int]):
    """Collapses edges until `num_vertices` remain, `num_boundary` of them on the boundary.

    vertices [N, D]: positions and any further attributes whose change should cost (the first three columns
    are the position). Vertices in `keep` stay. Returns (kept vertex ids, faces over those ids).
    """
    mesh = _Mesh(vertices[:, :3], faces)
    quadrics = _quadrics(vertices, faces)
    boundary = {v for edge in mesh.boundary_edges() for v in edge}
    heap = []

    def push(vertex):
        if vertex in keep:
            return
        for other in mesh.neighbours(vertex):
            heapq.heappush(heap, (cost(vertex, other), vertex, other))

    def cost(vertex, other):
        centre, matrix = quadrics[vertex]
        offset = vertices[other] - centre
        squared_length = ((vertices[other, :3] - vertices[vertex, :3]) ** 2).sum()
        return offset @ matrix @ offset + 1e-3 * squared_length

    for target, on_boundary in ((num_boundary, True), (num_vertices, False)):
        heap.clear()
        for vertex in mesh.fan:
            if (vertex in boundary) == on_boundary:
                push(vertex)
        count = len(boundary) if on_boundary else len(mesh.fan)
        while count > target:
            _, vertex, other = heapq.heappop(heap)
            if vertex not in mesh.fan or other not in mesh.fan or other not in mesh.neighbours(vertex):
                continue
            if on_boundary and not mesh.is_boundary_edge(vertex, other):
                continue
            if not mesh.may_collapse(vertex, other):
                continue
            touched = mesh.collapse(vertex, other)
            # The survivor takes the quadric over, moved to its own place as the new origin of costs.
            quadrics[other] = _merged(quadrics[vertex], quadrics[other], vertices[other])
            boundary.discard(vertex)
            count -= 1
            for moved in touched:
                if (moved in boundary) == on_boundary:
                    push(moved)
    return np.array(sorted(mesh.fan)), mesh.face_array()


def _quadrics(points: np.ndarray, faces: np.ndarray) -> list:
    """Per vertex (centre, matrix): squared distance to the planes of its faces in the space of all columns,
    area-weighted."""
    matrices = np.zeros((len(points), points.shape[1], points.shape[1]))
    for face in faces:
        origin = points[face[0]]
        first = points[face[1]] - origin
        second = points[face[2]] - origin
        area = 0.5 * np.linalg.norm(np.cross(first[:3], second[:3]))
        e1 = first / np.linalg.norm(first)
        e2 = second - e1 * (e1 @ second)
        e2 /= np.linalg.norm(e2)
        matrix = area * (np.eye(len(origin)) - np.outer(e1, e1) - np.outer(e2, e2))
        for vertex in face:
            matrices[vertex] += matrix / 3
    return [(points[i], matrices[i]) for i in range(len(points))]


def _merged(first, second, centre):
    # Exact for planes through `centre`; elsewhere the constant and linear terms are dropped, which only
    # underrates old errors.
    return centre, first[1] + second[1]


class _Mesh:
    """Triangles around each vertex, with the checks that keep a collapse manifold and unflipped."""

    def __init__(self, positions: np.ndarray, faces: np.ndarray):
        self.positions = positions
        self.faces = {i: tuple(int(v) for v in face) for i, face in enumerate(faces)}
        self.fan: dict[int, set[int]] = {}
        for i, face in self.faces.items():
            for vertex in face:
                self.fan.setdefault(vertex, set()).add(i)

    def neighbours(self, vertex: int) -> set[int]:
        return {v for i in self.fan[vertex] for v in self.faces[i]} - {vertex}

    def is_boundary_edge(self, a: int, b: int) -> bool:
        return len(self.fan[a] & self.fan[b]) == 1

    def boundary_edges(self) -> list[tuple[int, int]]:
        edges = {(face[k], face[(k + 1) % 3]) for face in self.faces.values() for k in range(3)}
        return [edge for edge in edges if edge[::-1] not in edges]

    def may_collapse(self, vertex: int, other: int) -> bool:
        shared = self.fan[vertex] & self.fan[other]
        if len(self.neighbours(vertex) & self.neighbours(other)) != len(shared):  # the link condition
            return False
        if (
            len(self.neighbours(vertex)) + len(self.neighbours(other)) - 2 - len(shared) > 9
        ):  # no vertex of a high valence
            return False
        for i in self.fan[vertex] - shared:
            before = self._normal(self.faces[i])
            after = self._normal(tuple(other if v == vertex else v for v in self.faces[i]))
            lengths = np.linalg.norm(before) * np.linalg.norm(after)
            if before @ after < MIN_NORMAL_COSINE * lengths or lengths == 0:
                return False
        return True

    def collapse(self, vertex: int, other: int) -> set[int]:
        for i in list(self.fan[vertex]):
            face = self.faces[i]
            if other in face:
                for v in face:
                    self.fan[v].discard(i)
                del self.faces[i]
            else:
                self.faces[i] = tuple(other if v == vertex else v for v in face)
                self.fan[other].add(i)
        del self.fan[vertex]
        return self.neighbours(other) | {other}

    def face_array(self) -> np.ndarray:
        return np.array([self.faces[i] for i in sorted(self.faces)])

    def _normal(self, face) -> np.ndarray:
        a, b, c = (self.positions[v] for v in face)
        return np.cross(b - a, c - a)
